"""Find a pedestal in a PSF file: the background of the bead's image, which spreads light over the whole array."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import InputError

_REFUSED, _SAID = 0.05, 0.01
"""Share of the PSF's light in the pedestal. With 5 % the sum over a blank area of the image is 5 % of the peaks' light;
``psf.energy`` crops .5 % by default, so that 1 % is more than what is cut off."""

_FLAT = 1.25
"""Largest ratio of the levels along the border, at 70 % of its distance and in the corners that counts as constant. The
wings of a PSF fall as the third power of the radius, out of focus as the square: two to three times between these."""

_LEAST_SIDE = 9
"""Smallest array in which the levels can be told apart."""

_CONTRAST = 4.0
"""Least ratio of peak and pedestal: below it there is no spot on a background."""


def pedestal_share(values: NDArray[np.floating]) -> float:
    """Return the share of a PSF's sum (y x or z y x) in a constant background; 0 where its wings still fall.

    It is measured in the plane of the peak, as the light out of focus may fill a plane evenly.
    """
    plane = values if values.ndim == 2 else values[int(np.unravel_index(values.argmax(), values.shape)[0])]
    if min(plane.shape) < _LEAST_SIDE:
        return 0.0
    peak = np.unravel_index(plane.argmax(), plane.shape)
    y, x = (_distance(n, int(at)) for n, at in zip(plane.shape, peak, strict=True))
    far, near = np.maximum(y[:, None], x[None]), np.minimum(y[:, None], x[None])
    parts = (far > 0.85) & (near < 0.4), (far > 0.6) & (far < 0.8) & (near < 0.4), near > 0.75
    if not all(part.any() for part in parts):
        return 0.0
    levels = [float(np.median(plane[part])) for part in parts]
    level = min(levels)
    if level <= 0 or max(levels) > _FLAT * level or plane.max() < _CONTRAST * level:
        return 0.0
    return level * values.size / float(values.sum())


def _distance(size: int, peak: int) -> NDArray[np.float64]:
    """Return the distance of each position along an axis from the peak, as a share of the farther border's."""
    return np.abs(np.arange(size) - peak) / max(peak, size - 1 - peak)


def pedestal_note(values: NDArray[np.floating], where: str) -> str:
    """Return what a small pedestal means; empty without one.

    Raises
    ------
    InputError
        More than 5 % of the light is in the pedestal.
    """
    share = pedestal_share(values)
    if share < _SAID:
        return ""
    text = f"{share:.0%} of its light is a constant background"
    if share > _REFUSED:
        raise InputError(
            f"{where}: {text}, which would blur every pixel over the whole PSF: expected a PSF that falls to 0. "
            "Set psf.background: border to subtract it; or 0, if it is meant"
        )
    return f"{text}: psf.background: border subtracts it"
