"""Find a pedestal in a PSF file: the background of the bead's image, which spreads light over the whole array."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import InputError

_REFUSED, _SAID = 0.05, 0.01
"""Share of the PSF's light in the pedestal. With 5 % the sum over a blank area of the image is 5 % of the peaks' light;
``psf.energy`` crops .5 % by default, so that 1 % is more than what is cut off."""

_FLAT = 1.25
"""Largest ratio of the levels at 70 % and 100 % of the radius that counts as constant. The wings of a PSF fall as the
third power of the radius, 2.9 times, or out of focus as the square, 2.0 times."""

_INNER = 0.7

_CONTRAST = 4.0
"""Least ratio of peak and pedestal: below it there is no spot on a background."""


def pedestal_share(values: NDArray[np.floating]) -> float:
    """Return the share of a PSF's sum (y x or z y x) in a constant background; 0 where its wings still fall.

    It is measured in the plane of the peak, as the light out of focus may fill a plane evenly.
    """
    plane = values if values.ndim == 2 else values[int(np.unravel_index(values.argmax(), values.shape)[0])]
    if min(plane.shape) < 7:
        return 0.0
    height, width = plane.shape
    peak_y, peak_x = (int(i) for i in np.unravel_index(plane.argmax(), plane.shape))
    distance = np.maximum(
        np.abs(np.arange(height) - peak_y)[:, None] / max(peak_y, height - 1 - peak_y),
        np.abs(np.arange(width) - peak_x)[None] / max(peak_x, width - 1 - peak_x),
    )
    border = float(np.median(plane[distance > 0.9]))
    inner = float(np.median(plane[(distance > _INNER - 0.1) & (distance <= _INNER + 0.1)]))
    if border <= 0 or inner > _FLAT * border or plane.max() < _CONTRAST * border:
        return 0.0
    return border * values.size / float(values.sum())


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
