"""Find where a PSF has its centre, and move it to the middle of the array.

A PSF whose centre is d pixels off the middle moves the whole output by d pixels, and no metric can see it. So a centre
off the middle is said, and refused where it is a mistake.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry.volume import SPATIAL

Center = Literal["middle", "peak", "centroid", "corner"]

_REFUSED = 1.0
"""Pixels off the middle beyond which a centre is taken for a mistake: noise and even sizes cause up to one."""

_SAID = 0.25
"""Pixels off the middle that are said: registration between channels is accurate to about a quarter of a pixel."""

_BRIGHT = 0.1
"""Share of the peak above which pixels count for the centroid: noise and background below would pull it inwards."""

_GATHERED = 0.7
"""Ratio of the spreads after and before a shift by half of the size, below which the shift brings the light together.
Of random values it is 1."""

_SYMMETRIC = 0.05
"""Largest difference from the PSF turned by 180 degrees, as a share of the peak, that is symmetric up to noise."""

_LEAST_SIDE = 5
"""Smallest size along an axis at which the corner can be told from the middle."""


def centre_of(values: NDArray[np.floating]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the positions of peak and centroid relative to the middle of the array, pixels (z y x)."""
    middle = tuple((n - 1) / 2 for n in values.shape)
    peak = tuple(float(i) for i in np.unravel_index(values.argmax(), values.shape))
    bright = np.where(values >= _BRIGHT * values.max(), values, 0)
    centroid = tuple(_mean_position(bright, axis) for axis in range(values.ndim))
    # float noise of the sums is no offset
    return tuple(p - m for p, m in zip(peak, middle, strict=True)), tuple(
        round(c - m, 3) for c, m in zip(centroid, middle, strict=True)
    )


def centre_note(values: NDArray[np.floating]) -> str:
    """Return what the centre of a PSF (z y x, odd sizes) does to the output; empty where it is in the middle."""
    if np.abs(values - np.flip(values)).max() <= _SYMMETRIC * values.max():
        return ""  # the brightest pixel of a ring is anywhere on it
    peak, centroid = centre_of(values)
    found = [
        f"its {name} is {_show(at)} from the middle of the array"
        for name, at in (("peak", peak), ("centroid", centroid))
        if _furthest(at) > _SAID
    ]
    moves = "moves" if len(found) == 2 else "may move"
    return f"{' and '.join(found)}: the output {moves} by that" if found else ""


def refuse_off_centre(values: NDArray[np.floating], where: str) -> None:
    """Refuse a PSF whose peak and centroid are both off the middle by more than a pixel, or that is in FFT order.

    Raises
    ------
    InputError
        Names ``psf.center``.
    """
    peak, centroid = centre_of(values)
    if in_fft_order(values):
        raise InputError(
            f"{where} has its centre in the corner of the array, the order of an FFT: expected it in the middle. "
            "Set psf.center: corner, or save it again after numpy.fft.fftshift"
        )
    if min(_furthest(peak), _furthest(centroid)) > _REFUSED:
        raise InputError(
            f"{where} has its peak {_show(peak)} and its centroid {_show(centroid)} from the middle of the array: "
            "expected the middle, as the output would move by that. Set psf.center: peak, or centroid; or middle, "
            "if it is meant"
        )


def in_fft_order(values: NDArray[np.floating]) -> bool:
    """Return whether the centre is in the corner: the peak is there, and the light around it at all corners."""
    long = [axis for axis, n in enumerate(values.shape) if n >= _LEAST_SIDE]
    if not long:
        return False
    peak = np.unravel_index(values.argmax(), values.shape)
    if any(min(int(peak[a]), values.shape[a] - int(peak[a])) > 1 for a in long):
        return False
    return _spread(np.fft.fftshift(values, axes=long)) < _GATHERED * _spread(values)


def _spread(values: NDArray[np.floating]) -> float:
    """Return the root mean square distance of the bright pixels from the middle, weighted by their light."""
    bright = np.where(values >= _BRIGHT * values.max(), values, 0).astype(np.float64)
    squared = sum(
        ((np.arange(n) - (n - 1) / 2) ** 2).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
        for axis, n in enumerate(values.shape)
    )
    return math.sqrt(float((bright * squared).sum() / bright.sum()))


def centred(values: NDArray[np.float64], center: Center, where: str) -> NDArray[np.float64]:
    """Return the PSF padded with zeros to odd sizes with its centre in the central voxel.

    Raises
    ------
    InputError
        The middle is asked for, and a size is even.
    """
    if center == "middle":
        even = [f"{n} along {axis}" for axis, n in zip(SPATIAL, values.shape, strict=True) if n % 2 == 0]
        if even:
            raise InputError(
                f"{where} is {', '.join(even)}, so its centre falls between two pixels: "
                "crop it to an odd size or set psf.center: peak"
            )
        return values
    if center == "corner":
        values = np.fft.fftshift(values)
        middle = tuple(n // 2 for n in values.shape)
    elif center == "peak":
        middle = tuple(int(i) for i in np.unravel_index(values.argmax(), values.shape))
    else:
        middle = tuple(math.floor(_mean_position(values, axis) + 0.5) for axis in range(values.ndim))
    before = [max(0, n - 1 - 2 * m) for n, m in zip(values.shape, middle, strict=True)]
    after = [max(0, 2 * m + 1 - n) for n, m in zip(values.shape, middle, strict=True)]
    return np.pad(values, list(zip(before, after, strict=True)))


def _mean_position(values: NDArray[np.floating], axis: int) -> float:
    profile = values.sum(axis=tuple(i for i in range(values.ndim) if i != axis), dtype=np.float64)
    return float(profile @ np.arange(len(profile)) / profile.sum())


def _furthest(offset: tuple[float, ...]) -> float:
    return max(abs(o) for o in offset)


def _show(offset: tuple[float, ...]) -> str:
    """Return for instance ``-3, 2 pixels (y, x)``, of the axes with an offset."""
    used = [(axis, o) for axis, o in zip(SPATIAL, offset, strict=True) if abs(o) > _SAID] or [("x", offset[-1])]
    return f"{', '.join(f'{o:+.2g}' for _, o in used)} pixels ({', '.join(axis for axis, _ in used)})"
