"""Measure the width of a PSF."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
"""Full width at half maximum of a Gaussian with standard deviation 1."""


def profile_through_peak(values: NDArray[np.floating], axis: int) -> NDArray[np.float64]:
    """Return the profile along one axis through the peak, float64."""
    peak = list(np.unravel_index(values.argmax(), values.shape))
    line = tuple(slice(None) if i == axis else int(p) for i, p in enumerate(peak))
    return values[line].astype(np.float64)


def fwhm(profile: NDArray[np.float64]) -> float:
    """Return the full width at half maximum of a profile in pixels, by linear interpolation; 0 beyond its ends."""
    half, peak = profile.max() / 2, int(profile.argmax()) + 1
    padded = np.concatenate([[0.0], profile, [0.0]])
    left = int(np.nonzero(padded[:peak] < half)[0][-1])
    right = peak + 1 + int(np.nonzero(padded[peak + 1 :] < half)[0][0])
    start = left + (half - padded[left]) / (padded[left + 1] - padded[left])
    stop = right - (half - padded[right]) / (padded[right - 1] - padded[right])
    return float(stop - start)
