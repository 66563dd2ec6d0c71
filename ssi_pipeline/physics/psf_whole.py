"""Read or compute one PSF of the configuration: centred, cropped, normalised, and refused where it cannot be meant."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import Blurring, FilePsf, GaussianPsf
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.physics.computed import intensity_of
from ssi_pipeline.physics.gaussian import gaussian_psf
from ssi_pipeline.physics.psf import Psf, VoxelSize
from ssi_pipeline.physics.psf_centre import centre_note
from ssi_pipeline.physics.psf_checks import refuse_implausible
from ssi_pipeline.physics.psf_from_file import psf_from_file
from ssi_pipeline.physics.psf_grid import on_grid

_EQUAL = 1e-5
"""Largest difference of what two sides hold at which they count as equal, as a share of it."""

Whole = tuple[NDArray[np.float64], VoxelSize | None, tuple[str, ...]]
"""Values z y x, their voxel size, and what is doubtful about them."""


def finished(section: Blurring, whole: Whole, image_shape: Ints | None) -> Psf:
    """Return a PSF cropped and normalised, and refuse one that cannot be meant."""
    values, size, notes = whole
    psf = Psf(cropped(values, section.energy), size, notes)
    where = f"PSF {section.path}" if isinstance(section, FilePsf) else f"the PSF (psf.kind {section.kind})"
    refuse_implausible(psf, where, image_shape)
    return psf


def load_whole(
    section: Blurring,
    voxel_um: VoxelSize | None,
    dimensions: int,
    image_shape: Ints | None = None,
    array: NDArray[Any] | None = None,
) -> Whole:
    """Return the whole PSF, as computed or read, before it is cropped."""
    planes = image_shape[0] if image_shape else None
    if isinstance(section, FilePsf):
        return psf_from_file(section, voxel_um, dimensions, array)
    if isinstance(section, GaussianPsf):
        return gaussian_psf(section, voxel_um, dimensions), voxel_um, ()
    values = on_grid(section, intensity_of(section), voxel_um, dimensions, planes)
    return values, voxel_um, tuple(filter(None, [centre_note(values)]))


def cropped(values: NDArray[np.floating], energy: float) -> NDArray[np.float32]:
    """Crop a PSF symmetrically as long as a share ``energy`` of its sum remains, then normalise the sum to 1."""
    total = float(values.sum())
    if not 0 < total < math.inf:
        raise InputError(f"the PSF sums to {total:g}: expected light somewhere; check its section, psf")
    spare = (1 - energy) * total
    while True:
        losses = {axis: _faces(values, axis) for axis, n in enumerate(values.shape) if n > 1}
        least = min(losses.values(), default=math.inf)
        if least > spare:
            break
        # of equal sides the longest, then the first: not the one that rounding, on this processor, makes the least
        equal = [axis for axis, loss in losses.items() if loss <= least + _EQUAL * abs(least)]
        axis = min(equal, key=lambda a: (-values.shape[a], a))
        loss = losses[axis]
        spare -= loss
        values = values[(slice(None),) * axis + (slice(1, -1),)]
    result: NDArray[np.float32] = (values / values.sum()).astype(np.float32)
    result.flags.writeable = False
    return result


def _faces(values: NDArray[np.floating], axis: int) -> float:
    first, last = np.take(values, 0, axis).sum(), np.take(values, -1, axis).sum()
    return float(first + last)
