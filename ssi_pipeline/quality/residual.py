"""What is left of the measurement when the estimate is taken away: it has to be the noise, and nothing else."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy import fft

LAGS = 6
"""Pixels; correlations further apart are those of the image's large structures, which the noise of few pixels hides."""

_LEAST = 1e-30


def chi_squared(standardised: NDArray[np.floating], seen: NDArray[np.bool_]) -> float:
    """Return the mean square of a residual over its predicted standard deviation: 1 where it is the noise.

    Parameters
    ----------
    standardised
        (y - g f(y)) / s, any number of axes.
    seen
        True at pixels that count.
    """
    return float(np.mean(np.square(standardised[seen], dtype=np.float64))) if seen.any() else float("nan")


def whiteness(standardised: NDArray[np.floating], seen: NDArray[np.bool_], lags: int = LAGS) -> float:
    """Return the sum of the squared autocorrelation of a residual over the lags d, 0 < |d| <= ``lags``.

    Almeida and Figueiredo 2013, "Parameter estimation for blind and non-blind deblurring using residual whiteness
    measures", eq. 8, here over a ball of lags. 0 where the residual is white; of n pixels of white noise it is
    the number of lags over n on average. No unit.

    Parameters
    ----------
    standardised
        (y - g f(y)) / s, so that the noise has the same variance everywhere; any number of axes.
    seen
        True at pixels that count: each lag is a mean over the pairs of such pixels.
    """
    count = int(seen.sum())
    if count < 2:
        return float("nan")
    values = np.where(seen, standardised - float(standardised[seen].mean()), 0.0)
    variance = float(np.square(values).sum()) / count
    if variance <= _LEAST:
        return float("nan")
    products, pairs = _autocorrelation(values, lags), _autocorrelation(seen.astype(np.float64), lags)
    near = _ball(values.ndim, lags) & (pairs > 0.5)
    return float(np.square(products[near] / pairs[near] / variance).sum())


def white_noise_level(seen: NDArray[np.bool_], lags: int = LAGS) -> float:
    """Return what ``whiteness`` is on average for white noise on these pixels: the sum of 1 / pairs of each lag."""
    pairs = _autocorrelation(seen.astype(np.float64), lags)
    near = _ball(seen.ndim, lags) & (pairs > 0.5)
    return float((1 / pairs[near]).sum())


def _autocorrelation(values: NDArray[np.floating], lags: int) -> NDArray[np.float64]:
    """Return sum over p of v(p) v(p + d) for all |d_i| <= lags, d = 0 in the middle; nothing wraps around."""
    size = [fft.next_fast_len(max(n, lags + 1) + lags, real=True) for n in values.shape]
    spectrum = fft.rfftn(values, s=size)
    full = fft.irfftn(np.abs(spectrum) ** 2, s=size)
    # an axis shorter than the lags has no pairs that far apart: the padding holds zeros there
    window = np.ix_(*(np.arange(-lags, lags + 1) % n for n in size))
    result: NDArray[np.float64] = full[window]
    return result


def _ball(axes: int, lags: int) -> NDArray[np.bool_]:
    """Return True at 0 < |d| <= lags; of d and -d, which have the same correlation, both count."""
    lengths = np.zeros((2 * lags + 1,) * axes)
    for d in itertools.product(range(-lags, lags + 1), repeat=axes):
        lengths[tuple(i + lags for i in d)] = sum(i * i for i in d)
    return (lengths > 0) & (lengths <= lags * lags)
