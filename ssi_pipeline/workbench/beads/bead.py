"""A bead and what was measured of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Values = NDArray[np.float64]

Status = Literal["used", "cut", "cluster", "saturated", "dim", "differs"]

REASONS: dict[Status, str] = {
    "used": "in the average",
    "cut": "its box reaches beyond the image",
    "cluster": "another bead is in its box",
    "saturated": "its brightest voxels are clipped",
    "dim": "too little above the noise",
    "differs": "its shape is not that of the others: several beads in one, or dirt",
}


@dataclass
class Bead:
    """A bead.

    Attributes
    ----------
    peak
        Brightest voxel, positions along the axes of the image.
    centre
        Sub-pixel position.
    amplitude, background
        In units of the image.
    fwhm
        Full width at half maximum along each axis, pixels; empty where it was not fitted.
    status
        Whether it is in the average, or why not.
    """

    peak: tuple[int, ...]
    amplitude: float
    background: float = 0.0
    centre: tuple[float, ...] = ()
    fwhm: tuple[float, ...] = ()
    status: Status = "used"
    stretch: tuple[float, ...] = field(default=(), repr=False)


def window(image: NDArray[np.floating], middle: tuple[int, ...], half: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the slices of a box around a voxel, cut at the border of the image."""
    return tuple(slice(max(0, m - h), min(n, m + h + 1)) for m, h, n in zip(middle, half, image.shape, strict=True))


def is_inside(image: NDArray[np.floating], middle: tuple[int, ...], half: tuple[int, ...]) -> bool:
    """Tell whether a box around a voxel is inside the image."""
    return all(m - h >= 0 and m + h < n for m, h, n in zip(middle, half, image.shape, strict=True))
