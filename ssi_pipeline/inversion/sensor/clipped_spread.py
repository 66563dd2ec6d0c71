"""Tabulate the median absolute residual of clipped noise.

The residual of a pixel is the filter (1 -2 1) x (1 -2 1) / 6 over its 3 x 3 window, which keeps the variance of white
noise and removes constants and slopes. For normal noise of standard deviation s its median absolute value is 0.6745 s;
clipping reduces it. The distribution of the sum of nine independent clipped normals is computed exactly on a grid.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.special import ndtr

MEDIAN_OF_NORMAL = 0.6744897501960817
"""Median absolute value of a standard normal."""

_STEP, _HIGHEST, _GRID = 0.05, 6.0, 4096
"""Grid step and highest value in standard deviations, and grid points: the residual spans 16 (6 + 4.5) / 0.05."""

_FROM, _TO = -1.5, 4.5
"""Tabulated distances of the level from the limit, in s. Below the first most residuals are 0."""


def clipped_spread(distance: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the median absolute residual in units of s, for levels at ``distance`` (units of s) inside a limit."""
    distances, spreads = _table()
    spread: NDArray[np.float64] = np.interp(distance, distances, spreads)
    return spread


@functools.cache
def _table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    distances = np.arange(_FROM, _TO + 0.05, 0.1)
    spreads = np.array([_median_residual(distance) for distance in distances])
    return distances, spreads * (MEDIAN_OF_NORMAL / spreads[-1])  # corrects the remaining error of the grid


def _median_residual(distance: float) -> float:
    """Return the median absolute residual of max(N, -distance)."""
    points = np.arange(-distance, _HIGHEST, _STEP)
    mass = np.diff(ndtr(points + _STEP / 2), prepend=0.0)
    mass[-1] += 1 - mass.sum()
    # characteristic function of the sum with weights 1 (corners), -2 (sides), 4 (centre)
    one, k = fft.fft(mass, _GRID), np.arange(_GRID)
    total = one**4 * one[-2 * k % _GRID] ** 4 * one[4 * k % _GRID]
    density = fft.ifft(total).real
    folded = density[: _GRID // 2].copy()
    folded[1:] += density[: _GRID // 2 : -1]
    # each grid value represents an interval around it; after folding that of 0 is half as wide
    edges = np.concatenate([[0.0], np.arange(folded.size) + 0.5])
    return float(np.interp(0.5, np.concatenate([[0.0], np.cumsum(folded)]), edges)) * _STEP / 6
