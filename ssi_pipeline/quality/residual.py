"""Compare the residual of an estimate with the noise: its variance (chi squared) and its whiteness."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy import fft

LAGS = 6
"""Largest lag in pixels: correlations at larger lags stem from large structures."""

_LEAST = 1e-30


def chi_squared(standardised: NDArray[np.floating], seen: NDArray[np.bool_]) -> float:
    """Return the reduced chi squared of a residual: 1 where it has the variance of the noise.

    Parameters
    ----------
    standardised
        (y - g f(y)) / s with s the standard deviation of the noise; any number of axes.
    seen
        True at pixels to use. Without any the result is NaN.
    """
    return float(np.mean(np.square(standardised[seen], dtype=np.float64))) if seen.any() else float("nan")


def whiteness(standardised: NDArray[np.floating], seen: NDArray[np.bool_], lags: int = LAGS) -> float:
    """Return the whiteness of a residual: the sum of its squared autocorrelation over lags d, 0 < |d| <= ``lags``.

    Almeida and Figueiredo 2013, "Parameter estimation for blind and non-blind deblurring using residual whiteness
    measures", eq. 8, here over a ball of lags. Dimensionless, >= 0, 0 for an uncorrelated residual. For n pixels of
    white noise its mean is the number of lags over n.

    Parameters
    ----------
    standardised
        (y - g f(y)) / s, so that the noise has unit variance everywhere; any number of axes.
    seen
        True at pixels to use: each lag is a mean over pairs of such pixels. With fewer than two the result is NaN.
    lags
        Radius of the ball in pixels.
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
    """Return the mean of ``whiteness`` for white noise on these pixels: the sum over lags of 1 / number of pairs."""
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
