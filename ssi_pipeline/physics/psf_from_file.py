"""Prepare the PSF of a file: background, dimensions, sampling and centre."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import FilePsf
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry.volume import SPATIAL, SpatialAxis
from ssi_pipeline.physics.psf import VoxelSize
from ssi_pipeline.physics.psf_centre import centre_note, centred, refuse_off_centre
from ssi_pipeline.physics.psf_checks import refuse_box
from ssi_pipeline.physics.psf_file import psf_array, read_psf_file
from ssi_pipeline.physics.psf_pedestal import pedestal_note
from ssi_pipeline.physics.psf_resample import resampled

_SAME_VOXEL = 0.01
"""Relative tolerance of voxel sizes, which are often rounded: 1 % changes a PSF of 30 pixels by less than a pixel."""

_LARGEST = 1e60
"""Largest absolute value: sums of such values, and of their products with positions, stay in the range of float64."""


def psf_from_file(
    section: FilePsf, voxel_size_um: VoxelSize | None, dimensions: int, array: NDArray[Any] | None = None
) -> tuple[NDArray[np.float64], VoxelSize | None, tuple[str, ...]]:
    """Return the values (z y x, odd sizes) of a PSF file, their voxel size, and what is doubtful about them.

    ``array``: its values where they are in memory; the section's path then only names it.

    Raises
    ------
    InputError
        The file is no PSF, or not one of this image.
    """
    where = f"PSF {section.path}"
    raw, stated = read_psf_file(section.path) if array is None else (psf_array(array, where), {})
    known = stated | {str(axis): size for axis, size in (section.voxel_size_um or {}).items()}
    whole = _subtract_background(raw, section.background, where)
    values = _fit_dimensions(whole, section.plane, dimensions, where)
    if not values.any():
        raise InputError(
            f"{where} is zero everywhere once its background is subtracted; check psf.background, psf.plane"
        )
    refuse_box(values, where)
    if section.center is None:
        refuse_off_centre(values, where)
    notes = [pedestal_note(whole, where)] if section.background == "none" else []
    values = centred(values, section.center or "middle", where)
    other = _other_sampling(known, voxel_size_um, dimensions)
    if other and not section.resample:
        axis, psf, image = other[0]
        raise InputError(
            f"{where} has a voxel size of {psf:g} µm along {axis}, the image {image:g} µm: set psf.resample: true to "
            "resample it to the image's sampling (or correct psf.voxel_size_um or input.voxel_size_um)"
        )
    if section.resample:
        values = resampled(values, [_ratio(known, voxel_size_um, axis, where) for axis in _used(dimensions)])
    if section.center in (None, "middle"):
        notes.append(centre_note(values))
    size = voxel_size_um if section.resample else _known_size(known, voxel_size_um)
    return values, size, tuple(filter(None, notes))


def _used(dimensions: int) -> tuple[SpatialAxis, ...]:
    return SPATIAL[3 - dimensions :]


def _other_sampling(
    known: Mapping[str, float], image_um: VoxelSize | None, dimensions: int
) -> list[tuple[str, float, float]]:
    """Return axis, voxel size of the PSF and of the image, of the axes where these differ."""
    pairs = [(axis, known.get(axis, image), image) for axis, image in zip(SPATIAL, image_um or (), strict=False)]
    return [(a, p, i) for a, p, i in pairs if a in _used(dimensions) and abs(p - i) > _SAME_VOXEL * i]


def _ratio(known: Mapping[str, float], image_um: VoxelSize | None, axis: SpatialAxis, where: str) -> float:
    """Return the voxel size of the image in voxels of the PSF, 1 where they agree."""
    if image_um is None or axis not in known:
        lacking = "of the image: set input.voxel_size_um" if image_um is None else "of the PSF: set psf.voxel_size_um"
        raise InputError(f"psf.resample: {where} cannot be resampled along {axis} without the voxel size {lacking}")
    ratio = image_um[SPATIAL.index(axis)] / known[axis]
    return 1.0 if abs(ratio - 1) <= _SAME_VOXEL else ratio


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
