"""How much narrower high-pass residuals are where the sensor clips.

The residual of a pixel is (1 -2 1) x (1 -2 1) / 6 over its 3 x 3 window: white noise keeps its variance, and
constants and slopes vanish. Its median absolute value is 0.6745 s for a normal noise of deviation s; clipping makes it
smaller. Here the exact distribution is computed, of a sum of nine independent clipped normals.
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
"""Standard deviations per grid point, highest value on the grid, and points: the residual spans 16 (6 + 4.5) / 0.05."""

_FROM, _TO = -1.5, 4.5
"""Way from the limit to the level that is tabulated. Nearer than the first a residual is 0 more often than not."""


def clipped_spread(way: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the median absolute residual over s, for levels that are ``way`` times s inside a limit."""
    ways, spreads = _table()
    spread: NDArray[np.float64] = np.interp(way, ways, spreads)
    return spread


@functools.cache
def _table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ways = np.arange(_FROM, _TO + 0.05, 0.1)
    spreads = np.array([_median_residual(way) for way in ways])
    return ways, spreads * (MEDIAN_OF_NORMAL / spreads[-1])  # takes the last of the grid's error away


def _median_residual(way: float) -> float:
    """Return the median absolute residual of max(N, -way)."""
    points = np.arange(-way, _HIGHEST, _STEP)
    mass = np.diff(ndtr(points + _STEP / 2), prepend=0.0)
    mass[-1] += 1 - mass.sum()
    # the sum's characteristic function; weights 1 (corners), -2 (sides), 4 (middle): constants vanish
    one, k = fft.fft(mass, _GRID), np.arange(_GRID)
    total = one**4 * one[-2 * k % _GRID] ** 4 * one[4 * k % _GRID]
    density = fft.ifft(total).real
    folded = density[: _GRID // 2].copy()
    folded[1:] += density[: _GRID // 2 : -1]
    # each grid value stands for an interval around it; that of 0 is half as wide once folded
    edges = np.concatenate([[0.0], np.arange(folded.size) + 0.5])
    return float(np.interp(0.5, np.concatenate([[0.0], np.cumsum(folded)]), edges)) * _STEP / 6
