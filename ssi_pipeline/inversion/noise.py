"""Estimate the noise and the clipping of the sensor from raw samples, without truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from ssi_pipeline.inversion.measurement import Measurement

Floats = NDArray[np.floating]

_BINS = 16
_SIGMA_OF_MAD = 1.4826
_SPIKE = 4.0
"""A limit is where the sensor clips when it is this many times as frequent as the levels next to it."""

_CLIPPED_SHARE = 0.005
"""Below this share of pixels at a limit, clipping biases nothing that could be seen."""

_MAX_CLIPPED = 0.02
"""A bin of intensities with more clipped pixels than this says nothing about the noise."""


def estimate_noise(samples: Sequence[Measurement], level: Sequence[Floats], dark: float) -> tuple[float, float]:
    """Fit variance = alpha max(level - dark, 0) + sigma^2 to high-pass residuals; returns (alpha, sigma).

    Parameters
    ----------
    samples
        Raw measurements.
    level
        Local median of each, z y x: the intensity to which each pixel's variance belongs.
    dark
        Level at which the variance is sigma^2, in raw units.

    Notes
    -----
    The residual is that of Immerkaer (1996): the second difference along y of that along x, over 6.
    Its spread is taken as a median absolute deviation in bins of equal counts, so that neither
    impulses nor edges count.
    """
    residual = np.concatenate([_high_pass(s.y)[_inner(s.observed)] for s in samples])
    levels = np.concatenate([lv[:, 1:-1, 1:-1][_inner(s.observed)] for s, lv in zip(samples, level, strict=True)])
    raw = np.concatenate([s.y[:, 1:-1, 1:-1][_inner(s.observed)] for s in samples])
    if residual.size < _BINS:
        return 0.0, 0.0
    low, high = raw.min(), raw.max()
    rows = []
    for part in np.array_split(np.argsort(levels, kind="stable"), _BINS):
        clipped = float(np.mean((raw[part] == low) | (raw[part] == high)))
        spread = _SIGMA_OF_MAD * float(np.median(np.abs(residual[part] - np.median(residual[part]))))
        rows.append((max(float(levels[part].mean()) - dark, 0.0), spread**2, clipped))
    table = np.array(rows)
    clean = table[table[:, 2] <= _MAX_CLIPPED]
    table = clean if len(clean) >= 2 else table
    return _fit(table[:, 0], table[:, 1])


def sensor_limits(samples: Sequence[Measurement], sigma: float) -> tuple[float | None, float | None]:
    """Return the raw levels at which the sensor clips, None where it does not.

    A limit of the data is a limit of the sensor when many pixels sit exactly on it, far more than on
    the levels within one sigma of it, and when the noise is wider than the sensor's steps (counts
    of few photons, which pile up at zero by themselves, are no clipping).
    """
    values = np.sort(np.concatenate([s.y[s.observed] for s in samples]).astype(np.float64))
    if values.size == 0 or sigma <= 0 or values[0] == values[-1]:
        return None, None
    low = float(values[0]) if _is_spike(values, sigma) else None
    high = float(values[-1]) if _is_spike(-values[::-1], sigma) else None
    return low, high


def _is_spike(ascending: NDArray[np.float64], sigma: float) -> bool:
    limit = ascending[0]
    at = int(np.searchsorted(ascending, limit, side="right"))
    near = ascending[at : int(np.searchsorted(ascending, limit + sigma, side="right"))]
    levels = np.unique(near).size
    if at < _CLIPPED_SHARE * ascending.size or levels < 2:
        return False
    return at > _SPIKE * near.size / levels


def _high_pass(y: Floats) -> Floats:
    """Return second differences along y and x, z (y - 2) (x - 2), scaled to keep the variance of white noise."""
    along = y[:, :, 2:] - 2 * y[:, :, 1:-1] + y[:, :, :-2]
    return (along[:, 2:] - 2 * along[:, 1:-1] + along[:, :-2]) / 6


def _inner(observed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of which the whole 3 x 3 window was observed, z (y - 2) (x - 2)."""
    height, width = observed.shape[1] - 2, observed.shape[2] - 2
    inner = np.ones((observed.shape[0], height, width), dtype=bool)
    for dy in range(3):
        for dx in range(3):
            inner &= observed[:, dy : dy + height, dx : dx + width]
    return inner


def _fit(level: NDArray[np.float64], variance: NDArray[np.float64]) -> tuple[float, float]:
    """Non-negative least squares; relative errors, since a variance's error is proportional to it."""
    weight = 1 / np.maximum(variance, 1e-3 * max(float(variance.max()), 1e-30))
    scale = max(float(level.max()), 1e-30)
    design = np.stack([level / scale, np.ones_like(level)], axis=1)
    (slope, constant), _ = nnls(design * weight[:, None], variance * weight)
    return float(slope) / scale, float(np.sqrt(constant))
