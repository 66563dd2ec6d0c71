"""Load the point spread function from a file or a model: centred, cropped and normalised."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import GaussianPsf, GibsonLanniPsf, IdentityPsf, PsfConfig, WidefieldPsf
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.physics.gaussian import gaussian_psf
from ssi_pipeline.physics.gibson_lanni import gibson_lanni_psf
from ssi_pipeline.physics.psf import Psf, VoxelSize
from ssi_pipeline.physics.psf_file import read_psf_file
from ssi_pipeline.physics.pupil import widefield_psf

_SAME_VOXEL = 0.01
"""Relative tolerance of voxel sizes, which are often rounded: 1 % changes a PSF of 30 pixels by less than a pixel."""

_LARGEST = 1e60
"""Largest absolute value: sums of such values, and of their products with positions, stay in the range of float64."""


def load_psf(
    section: PsfConfig,
    voxel_size_um: VoxelSize | None,
    dimensions: Literal[2, 3],
) -> Psf | None:
    """Return the PSF of a section of the configuration, or None for no blur.

    Parameters
    ----------
    section
        One entry of ``psf``.
    voxel_size_um
        Voxel size of the image (z y x) in micrometres, or None if unknown.
    dimensions
        Number of spatial axes of a tile; a PSF for 2 has length 1 along z.

    Raises
    ------
    InputError
        The file is missing or not a PSF, its voxel size differs from the image's by more than 1 %, or the section
        needs a voxel size that is unknown.
    """
    if isinstance(section, IdentityPsf):
        return None
    if isinstance(section, GaussianPsf):
        return Psf(_finish(gaussian_psf(section, voxel_size_um, dimensions), section.energy), voxel_size_um)
    if isinstance(section, WidefieldPsf):
        return Psf(_finish(widefield_psf(section, voxel_size_um, dimensions), section.energy), voxel_size_um)
    if isinstance(section, GibsonLanniPsf):
        return Psf(_finish(gibson_lanni_psf(section, voxel_size_um, dimensions), section.energy), voxel_size_um)
    where = f"PSF {section.path}"
    raw, stated = read_psf_file(section.path)
    known = stated | {str(axis): size for axis, size in (section.voxel_size_um or {}).items()}
    _refuse_other_sampling(known, voxel_size_um, dimensions, where)
    values = _subtract_background(raw, section.background, where)
    values = _fit_dimensions(values, section.plane, dimensions, where)
    if not values.any():
        raise InputError(
            f"{where} is zero everywhere once its background is subtracted; check psf.background, psf.plane"
        )
    values = _centred(values, section.center, where)
    return Psf(_finish(values, section.energy), _known_size(known, voxel_size_um))


def _refuse_other_sampling(known: Mapping[str, float], image_um: VoxelSize | None, dimensions: int, where: str) -> None:
    for axis, image in list(zip(SPATIAL, image_um or (), strict=False))[3 - dimensions :]:
        psf = known.get(axis, image)
        if abs(psf - image) > _SAME_VOXEL * image:
            raise InputError(
                f"{where} has a voxel size of {psf:g} µm along {axis}, the image {image:g} µm: "
                "resample the PSF to the image's sampling (or correct psf.voxel_size_um or input.voxel_size_um)"
            )


def _known_size(known: Mapping[str, float], image_um: VoxelSize | None) -> VoxelSize | None:
    sizes: dict[str, float] = dict(zip(SPATIAL, image_um or (), strict=False))
    sizes.update(known)
    return (sizes.get("z", 1.0), sizes["y"], sizes["x"]) if "y" in sizes and "x" in sizes else None


def _subtract_background(raw: NDArray[Any], background: str | float, where: str) -> NDArray[np.float64]:
    values = raw.astype(np.float64)
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise InputError(f"{where} has {bad} values that are NaN or infinite; expected finite values")
    largest = float(np.abs(values).max())
    if largest > _LARGEST or 0 < largest < 1 / _LARGEST:
        raise InputError(
            f"{where} has values of {largest:g}, which cannot be summed: scale it; its sum is made 1 in any case"
        )
    if background == "none":
        if values.min() < 0:
            raise InputError(
                f"{where} has negative values (minimum {values.min():g}), but a PSF is a distribution of light: "
                "set psf.background to 'border', 'minimum' or a number to subtract"
            )
        return values
    if background == "minimum":
        level = float(values.min())
    elif background == "border":
        level = float(np.median(values[_border(values.shape)]))
    else:
        level = float(background)
    return np.maximum(values - level, 0.0)


def _border(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    border = np.ones(shape, dtype=bool)
    border[tuple(slice(1, -1) if n > 2 else slice(None) for n in shape)] = False
    return border if border.any() else ~border


def _fit_dimensions(
    values: NDArray[np.float64], plane: Literal["sum"] | int | None, dimensions: int, where: str
) -> NDArray[np.float64]:
    """Return the PSF with axes z y x, of length 1 along z for 2D tiles."""
    if plane is not None and (dimensions == 3 or values.ndim == 2):
        raise InputError(f"{where} is {values.ndim}D for {dimensions}D tiles: leave psf.plane out, it cuts 3D to 2D")
    if dimensions == 3:
        if values.ndim == 2:
            raise InputError(f"{where} is 2D {values.shape}, but tiling.dimensions is 3: expected a 3D PSF (z y x)")
        return values
    if values.ndim == 2:
        return values[np.newaxis]
    if plane is None:
        raise InputError(
            f"{where} is 3D {values.shape}, but tiling.dimensions is 2. Set psf.plane to the index of the plane in "
            "focus (thin samples, confocal), or to 'sum' to add all planes (thick samples: out-of-focus light counts)"
        )
    if plane == "sum":
        return np.add.reduce(values, axis=0, keepdims=True)
    if plane >= len(values):
        raise InputError(f"psf.plane is {plane}, but {where} has the planes 0 to {len(values) - 1}")
    return values[plane : plane + 1]


def _centred(values: NDArray[np.float64], center: str, where: str) -> NDArray[np.float64]:
    """Return the PSF padded with zeros to odd sizes with its centre in the central voxel."""
    if center == "middle":
        even = [f"{n} along {axis}" for axis, n in zip(SPATIAL, values.shape, strict=True) if n % 2 == 0]
        if even:
            raise InputError(
                f"{where} is {', '.join(even)}, so its centre falls between two pixels: "
                "crop it to an odd size or set psf.center: peak"
            )
        return values
    if center == "peak":
        middle = tuple(int(i) for i in np.unravel_index(values.argmax(), values.shape))
    else:
        means = [_mean_position(values, axis) for axis in range(values.ndim)]
        middle = tuple(math.floor(mean + 0.5) for mean in means)
    before = [max(0, n - 1 - 2 * m) for n, m in zip(values.shape, middle, strict=True)]
    after = [max(0, 2 * m + 1 - n) for n, m in zip(values.shape, middle, strict=True)]
    return np.pad(values, list(zip(before, after, strict=True)))


def _mean_position(values: NDArray[np.float64], axis: int) -> float:
    profile = values.sum(axis=tuple(i for i in range(values.ndim) if i != axis))
    return float(profile @ np.arange(len(profile)) / profile.sum())


def _finish(values: NDArray[np.float64], energy: float) -> NDArray[np.float32]:
    """Crop symmetrically as long as a share ``energy`` of the sum remains, then normalise the sum to 1."""
    total = float(values.sum())
    if not 0 < total < math.inf:
        raise InputError(f"the PSF sums to {total:g}: expected light somewhere; check its section, psf")
    spare = (1 - energy) * total
    while True:
        faces = [(_faces(values, axis), -n, axis) for axis, n in enumerate(values.shape) if n > 1]
        loss, _, axis = min(faces, default=(math.inf, 0, 0))
        if loss > spare:
            break
        spare -= loss
        values = values[(slice(None),) * axis + (slice(1, -1),)]
    result: NDArray[np.float32] = (values / values.sum()).astype(np.float32)
    result.flags.writeable = False
    return result


def _faces(values: NDArray[np.float64], axis: int) -> float:
    first, last = np.take(values, 0, axis).sum(), np.take(values, -1, axis).sum()
    return float(first + last)
