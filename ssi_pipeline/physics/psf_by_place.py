"""Load the PSFs of parts of the image: measured or computed, at the nodes of a grid in the middles of the parts."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from ssi_pipeline.config import Blurring, FilePsf, VaryingPsf
from ssi_pipeline.config.psf_varying import PsfPart, words
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.physics.psf import Psf, VoxelSize
from ssi_pipeline.physics.psf_file import read_psf_file
from ssi_pipeline.physics.psf_set import PsfSet
from ssi_pipeline.physics.psf_whole import finished, load_whole


def by_place(
    section: VaryingPsf, voxel_um: VoxelSize | None, dimensions: int, image_shape: Ints | None = None
) -> PsfSet:
    """Return the PSFs of a section that lists them by ranges of z, y and x.

    Parameters
    ----------
    section
        Its ranges divide the image like a grid.
    voxel_um, dimensions, image_shape
        As of ``load_psf``.

    Raises
    ------
    InputError
        The ranges do not cover the image or exceed it, files have different shapes, or a PSF is refused on its own.
    """
    if image_shape is not None:
        _refuse_other_extent(section, image_shape)
    by_ranges = {part.ranges: part for part in section.by}
    parts = [by_ranges[ranges] for ranges in product(*(section.edges_or_all(axis) for axis in range(3)))]
    _refuse_other_shapes(parts)
    psfs = [_one(part, voxel_um, dimensions, image_shape) for part in parts]
    return PsfSet.of(psfs, [[(a + b) / 2 for a, b in section.edges(axis)] or [0.0] for axis in range(3)])


def _one(part: PsfPart, voxel_um: VoxelSize | None, dimensions: int, image_shape: Ints | None) -> Psf:
    section: Blurring = part.psf
    where = words(part.ranges)
    try:
        psf = finished(section, load_whole(section, voxel_um, dimensions, image_shape), image_shape)
    except InputError as error:
        raise InputError(f"psf.by, {where}: {error}") from error
    return replace(psf, notes=tuple(f"{where}: {note}" for note in psf.notes))


def _refuse_other_extent(section: VaryingPsf, image_shape: Ints) -> None:
    for index, (axis, size) in enumerate(zip(SPATIAL, image_shape, strict=True)):
        edges = section.edges(index)
        if edges and edges[-1][1] != size:
            what = "do not cover" if edges[-1][1] < size else "exceed"
            raise InputError(
                f"psf.by: the ranges of {axis} end at {edges[-1][1]} and {what} the image, which has {size} pixels "
                f"along {axis}: expected {size} (input.roi does not move them)"
            )


def _refuse_other_shapes(parts: list[PsfPart]) -> None:
    """Refuse measured PSFs of different shapes: of another camera, binning or crop, where no metadata say so."""
    files = [(part, part.psf) for part in parts if isinstance(part.psf, FilePsf)]
    shapes = [(part, read_psf_file(psf.path)[0].shape) for part, psf in files]
    for part, shape in shapes[1:]:
        first, expected = shapes[0]
        if shape != expected:
            raise InputError(
                f"psf.by: the PSF of {words(part.ranges)} has the shape {shape}, that of {words(first.ranges)} "
                f"{expected}: expected one shape, as of beads from one camera; cut or pad the files to the same size"
            )
