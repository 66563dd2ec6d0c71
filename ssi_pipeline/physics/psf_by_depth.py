"""Compute the PSFs of a stack whose emitters are deeper in the sample from plane to plane.

Every PSF is centred on its best focus: objects stay where the stack shows them, along the stage's travel. Where an
index mismatch makes the focus move less or more than the stage, the depth per micrometre of z says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import DepthByZ, GibsonLanniPsf, PsfConfig
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.geometry.volume import SpatialAxis
from ssi_pipeline.physics.gibson_lanni import focus_um, gibson_lanni_intensity
from ssi_pipeline.physics.psf import Psf, VoxelSize
from ssi_pipeline.physics.psf_centre import centre_note
from ssi_pipeline.physics.psf_grid import on_grid
from ssi_pipeline.physics.psf_set import PsfSet
from ssi_pipeline.physics.psf_support import Intensity, support_um
from ssi_pipeline.physics.psf_whole import Whole, finished

_LINEAR = 0.04
"""Largest relative distance of a PSF from the mean of its neighbours before more are computed between them. That PSF is
a node itself: the error of the interpolation is a quarter of it."""

_DEEPEST_UM = 1000.0
"""Objectives have a working distance of less than a millimetre of sample, at the apertures where depth matters."""


def depth_of(section: PsfConfig) -> tuple[GibsonLanniPsf, DepthByZ] | None:
    """Return a section with its depth by z; None where no depth changes."""
    if isinstance(section, GibsonLanniPsf) and isinstance(section.depth_um, DepthByZ):
        return section, section.depth_um
    return None


def by_depth(
    section: GibsonLanniPsf, depth: DepthByZ, voxel_um: VoxelSize | None, dimensions: int, image_shape: Ints | None
) -> Psf:
    """Return the PSFs of a stack at so many depths that linear interpolation between them is exact within 1 %.

    Parameters
    ----------
    section, depth
        Optics, and the depth of each plane.
    voxel_um, dimensions, image_shape
        As of ``load_psf``; both must be known.

    Raises
    ------
    InputError
        Voxel size or planes are unknown, or a plane would be outside the sample.
    """
    if voxel_um is None or image_shape is None:
        lacking = "the voxel size along z, set input.voxel_size_um" if voxel_um is None else "the planes of an image"
        raise InputError(f"psf.depth_um changes along z and needs {lacking}; or give a number")
    planes = image_shape[0]
    for plane in (0, planes - 1):
        _refuse_outside(depth, plane, voxel_um)
    ends = (0.5, planes - 0.5)
    section = section.within(_support(section, depth, ends, voxel_um, dimensions))
    psfs = [
        finished(*_node(section, depth, position, voxel_um, dimensions, planes), image_shape)
        for position in ends[:planes]
    ]
    if planes == 1:
        return psfs[0]
    radius = tuple(max(psf.radius[axis] for psf in psfs) for axis in range(3))
    nodes: dict[float, NDArray[np.float32]] = {}

    def at(position: float) -> NDArray[np.float32]:
        """Return the PSF at a position along z, pixels."""
        if position not in nodes:
            nodes[position] = _cut(_node(section, depth, position, voxel_um, dimensions, planes)[1][0], radius)
        return nodes[position]

    for end in ends:
        at(end)
    _refine(at, *ends)
    notes = tuple(dict.fromkeys(note for psf in psfs for note in psf.notes))
    along = sorted(nodes)
    return PsfSet.of([Psf(nodes[position], voxel_um, notes) for position in along], [along, [0.0], [0.0]])


def _node(
    section: GibsonLanniPsf, depth: DepthByZ, position: float, voxel_um: VoxelSize, dimensions: int, planes: int
) -> tuple[GibsonLanniPsf, Whole]:
    """Return the section of the depth at a position along z, and its whole PSF."""
    fixed = section.at_depth(depth_at(depth, position, voxel_um))
    return fixed, refocused(fixed, depth, voxel_um, dimensions, planes)


def _support(
    section: GibsonLanniPsf, depth: DepthByZ, ends: Sequence[float], voxel_um: VoxelSize, dimensions: int
) -> dict[SpatialAxis, float]:
    """Return one reach for all depths, as configured or the largest: every plane of a PSF holds the same light."""
    stack = (ends[1] - ends[0]) * voxel_um[0]
    reaches = []
    for end in ends:
        fixed = section.at_depth(depth_at(depth, end, voxel_um))
        reaches.append(support_um(fixed, _intensity(fixed, depth), dimensions, stack, focus_um(fixed)[1]))
    axial, lateral = (max(each) for each in zip(*reaches, strict=True))
    return {"z": max(axial, voxel_um[0]), "y": lateral, "x": lateral, **(section.support_um or {})}


def whole_in_plane(
    section: PsfConfig, plane: int, voxel_um: VoxelSize | None, dimensions: int, image_shape: Ints
) -> tuple[GibsonLanniPsf, Whole]:
    """Return the section of the depth of a plane, and its whole PSF; see ``by_depth``.

    Raises
    ------
    ValueError
        No depth changes along z, or the voxel size is unknown.
    """
    found = depth_of(section)
    if found is None or voxel_um is None:
        raise ValueError("expected a section with a depth by z, and a voxel size")
    ends = (0.5, image_shape[0] - 0.5)
    placed = found[0].within(_support(*found, ends, voxel_um, dimensions))
    return _node(placed, found[1], plane + 0.5, voxel_um, dimensions, image_shape[0])


def _refine(at: Callable[[float], NDArray[np.float32]], low: float, high: float) -> None:
    """Call ``at`` at so many positions that it is linear between them."""
    spans = [(low, high)]
    while spans:
        low, high = spans.pop()
        if high - low <= 1:
            continue
        middle = (low + high) / 2
        wrong = np.linalg.norm((at(low) + at(high)) / 2 - at(middle)) / np.linalg.norm(at(middle))
        if wrong > _LINEAR:
            spans += [(low, middle), (middle, high)]


def _cut(values: NDArray[np.float64], radius: Sequence[int]) -> NDArray[np.float32]:
    """Return the middle of a PSF with a radius, as far as it reaches, normalised."""
    middle = tuple(n // 2 for n in values.shape)
    kept = values[tuple(slice(max(0, m - r), m + r + 1) for m, r in zip(middle, radius, strict=True))]
    result: NDArray[np.float32] = (kept / kept.sum()).astype(np.float32)
    return result


def depth_at(depth: DepthByZ, position: float, voxel_um: VoxelSize) -> float:
    """Return the depth of emitters at a position along z in pixels, micrometres; the first plane is at 0.5."""
    return depth.at_z0 + depth.per_um * (position - 0.5) * voxel_um[0]


def refocused(
    section: GibsonLanniPsf, depth: DepthByZ, voxel_um: VoxelSize, dimensions: int, planes: int | None
) -> Whole:
    """Return the whole PSF of emitters at one depth, z y x, its best focus in the central voxel."""
    values = on_grid(section, _intensity(section, depth), voxel_um, dimensions, planes)
    note = centre_note(values) if section.defocus_um else ""  # the focus of aberrated rays is not symmetric
    return values, voxel_um, tuple(filter(None, [note]))


def _intensity(section: GibsonLanniPsf, depth: DepthByZ) -> Intensity:
    """Return the intensity at distances from the axis and heights above the best focus, along z of the image.

    Where the depth rises along z the stage moves into the sample and the immersion gets thinner, else thicker: this
    decides on which side of the focus the rings are.
    """
    focus, direction = focus_um(section)[0], -1 if depth.per_um > 0 else 1
    return lambda radius, z: gibson_lanni_intensity(section, radius, focus + direction * z)


def _refuse_outside(depth: DepthByZ, plane: int, voxel_um: VoxelSize) -> None:
    found = depth_at(depth, plane + 0.5, voxel_um)
    if not 0 <= found <= _DEEPEST_UM:
        raise InputError(
            f"psf.depth_um is {found:g} µm in plane {plane} (at_z0 {depth.at_z0:g}, per_um {depth.per_um:g}, planes "
            f"of {voxel_um[0]:g} µm): expected 0, at the cover glass, to {_DEEPEST_UM:g}; check at_z0 and per_um"
        )
