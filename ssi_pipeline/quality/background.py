"""Structure where there is none: what an estimate shows where the measurement shows noise alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_WINDOW = 7
_SIGMAS = 2.0
"""A variance within so many of its standard errors of the noise's is the noise's."""

_FEWEST = 64


def background_structure(
    measured: NDArray[np.floating],
    estimate: NDArray[np.floating],
    noise_variance: NDArray[np.floating],
    seen: NDArray[np.bool_],
) -> tuple[float, float]:
    """Return the mean of |f - median f| over the pixels around which the measurement varies as its noise does.

    Parameters
    ----------
    measured, estimate
        y and f, of one shape, (z) y x, and one unit, which is that of the result.
    noise_variance
        Of each pixel of y.
    seen
        False at pixels that do not count.

    Returns
    -------
    structure, deviation
        ``structure`` is 0 on a flat background. ``deviation`` is the same of f less the mean of y over 7 x 7 pixels:
        what flat parts of other levels add is gone, so it can be compared between tiles. NaN without any background.
    """
    flat, mean = _dark_flat(measured, noise_variance, seen)
    return _mean_deviation(estimate[flat]), _mean_deviation(estimate[flat] - mean[flat])


def _mean_deviation(values: NDArray[np.floating]) -> float:
    return float(np.mean(np.abs(values - np.median(values)), dtype=np.float64)) if values.size else float("nan")


def _dark_flat(
    measured: NDArray[np.floating], noise_variance: NDArray[np.floating], seen: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return the pixels around which y varies as its noise, none where they are few; and the mean of y around each."""
    size = (1,) * (measured.ndim - 2) + (_WINDOW, _WINDOW)
    mean = ndimage.uniform_filter(np.asarray(measured, np.float64), size)
    variance = ndimage.uniform_filter(np.square(measured, dtype=np.float64), size) - mean**2
    limit = noise_variance * (1 + _SIGMAS * np.sqrt(2 / _WINDOW**2))
    flat = (variance <= limit) & (ndimage.uniform_filter(seen.astype(np.float32), size) > 0.99)
    if int(flat.sum()) < _FEWEST:
        return np.zeros_like(flat), mean
    # of the flat parts the darker half: a bright one has structure of its own, below the noise
    return flat & (mean <= np.median(mean[flat])), mean
