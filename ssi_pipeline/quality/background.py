"""Measure artefacts in the background: structure of an estimate where the measurement is noise alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_WINDOW = 7
"""Pixels along y and x of the window for local mean and variance."""

_SIGMAS = 2.0
"""Standard errors by which a local variance may exceed the noise variance and still count as noise."""

_FEWEST = 64
"""Fewest background pixels for a result."""


def background_structure(
    measured: NDArray[np.floating],
    estimate: NDArray[np.floating],
    noise_variance: NDArray[np.floating],
    seen: NDArray[np.bool_],
) -> tuple[float, float]:
    """Return the mean absolute deviation of an estimate over the dark pixels where the measurement is noise alone.

    Parameters
    ----------
    measured, estimate
        y and f, of one shape (z) y x, in the same units.
    noise_variance
        Variance of the noise at each pixel of y, (z) y x, squared units of y.
    seen
        False at pixels to ignore, (z) y x.

    Returns
    -------
    structure, deviation
        Units of y, >= 0. ``structure``: mean of |f - median f|, 0 on a flat background. ``deviation``: the same of f
        minus the mean of y over 7 x 7 pixels, which removes differences of level between flat parts and makes tiles
        comparable. Both NaN without background.
    """
    flat, mean = _dark_flat(measured, noise_variance, seen)
    return _mean_deviation(estimate[flat]), _mean_deviation(estimate[flat] - mean[flat])


def _mean_deviation(values: NDArray[np.floating]) -> float:
    return float(np.mean(np.abs(values - np.median(values)), dtype=np.float64)) if values.size else float("nan")


def _dark_flat(
    measured: NDArray[np.floating], noise_variance: NDArray[np.floating], seen: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return the dark pixels around which y varies as its noise (none where they are few), and the local mean of y."""
    size = (1,) * (measured.ndim - 2) + (_WINDOW, _WINDOW)
    mean = ndimage.uniform_filter(np.asarray(measured, np.float64), size)
    variance = ndimage.uniform_filter(np.square(measured, dtype=np.float64), size) - mean**2
    limit = noise_variance * (1 + _SIGMAS * np.sqrt(2 / _WINDOW**2))
    flat = (variance <= limit) & (ndimage.uniform_filter(seen.astype(np.float32), size) > 0.99)
    if int(flat.sum()) < _FEWEST:
        return np.zeros_like(flat), mean
    # only the darker half of the flat parts: bright ones have structure below the noise
    return flat & (mean <= np.median(mean[flat])), mean
