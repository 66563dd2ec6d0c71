"""Estimate the noise of the sensor from samples, without truth: alpha and sigma of s^2 = alpha (z - dark) + sigma^2.

The idea is that of Foi et al. (2008): at each mean report the spread of what is left of the noise says what
noise went in, once it is known how clipping changes both the mean and the spread. So clipped pixels are used,
not avoided: in a dark scene there are hardly others.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.sensor.clipped_spread import MEDIAN_OF_NORMAL, clipped_spread
from ssi_pipeline.inversion.sensor.noise_bins import Floats, NoiseBins, gather
from ssi_pipeline.physics.sensor import CensoredSensor

_MOST_CLIPPED = 0.8
"""With a larger share of clipped pixels most residuals are 0."""

_MISFIT = 0.02
"""Relative error of a bin's spread that structure and the range of levels in it cause, however many its pixels."""

_CORRELATED = 2.0
"""Residuals of neighbours share pixels: as many independent ones as there are pixels over this."""

_COARSE = 2.0
"""Steps of the data below which a spread is no longer told by its median: counts are few, or steps coarse."""

_GRID = 4001


def estimate_noise(
    samples: Sequence[Measurement],
    low: float = -math.inf,
    high: float = math.inf,
    dark: float | None = None,
    rough: CensoredSensor | None = None,
) -> CensoredSensor:
    """Fit the noise of a sensor with known limits.

    Parameters
    ----------
    samples
        Measurements, normalised.
    low, high
        Levels at which the sensor clips; infinite where it does not.
    dark
        Level above which the variance grows; None: that of the darkest bin.
    rough
        An earlier estimate, by which outliers are told; None: one that they may have widened a little.

    Returns
    -------
    sensor
        With the limits given; sigma 0 where there is nothing to tell it by, or no noise.
    """
    if rough is None:
        rough = _fit(gather(samples, None, (low, high)), low, high, dark)
    if rough.sigma == 0 and rough.alpha == 0:
        return rough
    return _fit(gather(samples, lambda level: _deviation(rough, level), (low, high)), low, high, dark)


def _deviation(sensor: CensoredSensor, level: Floats) -> Floats:
    deviation: Floats = sensor.deviation(torch.from_numpy(np.asarray(level))).numpy()
    return deviation


def _fit(bins: NoiseBins, low: float, high: float, dark: float | None) -> CensoredSensor:
    """Return the noise that explains the bins; outlying bins count less (soft l1), structure makes some too wide."""
    use = bins.where(bins.clipped <= _MOST_CLIPPED)
    bins = use if len(use) else bins
    if not len(bins) or not bins.square.any():
        return CensoredSensor(0.0, 0.0, low, high)
    coarse = bins.square < _COARSE * bins.step
    spread = np.where(coarse, bins.square, bins.median / MEDIAN_OF_NORMAL)
    blank = CensoredSensor(0.0, 0.0, low, high, float(np.clip(bins.mean.min(), low, high)) if dark is None else dark)
    start = _start(bins.mean, spread, blank)
    if dark is None:  # the mean report of the darkest bin is above its level where it is clipped
        darkest = float(np.clip(level_of(start, bins.mean.min(keepdims=True))[0], low, high))
        start = dataclasses.replace(start, dark=darkest)
    return _refine(start, bins, spread, coarse)


def _refine(
    start: CensoredSensor, bins: NoiseBins, spread: NDArray[np.float64], coarse: NDArray[np.bool_]
) -> CensoredSensor:
    error = np.sqrt(_CORRELATED * 1.36 / bins.pixels + _MISFIT**2)  # 1.36 / n: variance of log MAD of a normal
    measured = np.log(np.maximum(spread, 1e-7))
    typical = max(float(np.median(spread)), 1e-6)
    scale = typical * np.array([1 / math.sqrt(max(float(np.ptp(bins.mean)), 1e-6)), 1.0])

    def sensor(x: NDArray[np.float64]) -> CensoredSensor:
        """Return the sensor at the scaled parameters (root of alpha, sigma)."""
        root, sigma = (x * scale).tolist()  # the root of alpha is of the order of sigma, alpha is not
        return dataclasses.replace(start, alpha=root**2, sigma=sigma)

    def misfit(x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each bin's misfit of the log of its spread, in units of its error."""
        expected = np.log(np.maximum(_expected_spread(sensor(x), bins.mean, coarse), 1e-7))
        misfits: NDArray[np.float64] = (expected - measured) / error
        return misfits

    # where clipping narrows the noise in the dark, photon noise is a second, wrong explanation: start from both
    starts = (np.array([math.sqrt(start.alpha), start.sigma]) / scale, np.array([0.1, 1.0]))
    fits = [least_squares(misfit, np.maximum(x, 0.01), bounds=(0, np.inf), loss="soft_l1", max_nfev=50) for x in starts]
    return sensor(min(fits, key=lambda fit: float(fit.cost)).x)


def _expected_spread(
    sensor: CensoredSensor, mean: NDArray[np.float64], coarse: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the spread to expect where the mean report is ``mean``: robust, or (coarse) the standard deviation."""
    level = level_of(sensor, mean)
    s = _deviation(sensor, level)
    # near one limit at a time: where a range is narrower than 5 s this is an approximation
    robust = s * clipped_spread((level - sensor.low) / s) * clipped_spread((sensor.high - level) / s)
    squared = sensor.variance(torch.from_numpy(level)).numpy()
    return np.where(coarse, np.sqrt(squared), robust / MEDIAN_OF_NORMAL**2)


def level_of(sensor: CensoredSensor, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the levels of mean reports, from a table that reaches 3 s beyond the limits."""
    if sensor.is_linear:
        return mean
    s = _deviation(sensor, np.array([max(sensor.low, mean.min()), min(sensor.high, mean.max())]))
    bottom = sensor.low - 3 * s[0] if math.isfinite(sensor.low) else mean.min() - s[0]
    top = sensor.high + 3 * s[1] if math.isfinite(sensor.high) else mean.max() + s[1]
    levels = np.linspace(bottom, top, _GRID)
    reports = sensor(torch.from_numpy(levels)).numpy()
    return np.interp(mean, reports, levels)


def _start(mean: NDArray[np.float64], spread: NDArray[np.float64], sensor: CensoredSensor) -> CensoredSensor:
    """Non-negative least squares, as if nothing clipped; relative errors, as a variance's error grows with it."""
    variance = spread**2
    weight = 1 / np.maximum(variance, 1e-3 * float(variance.max()))
    above = np.maximum(mean - sensor.dark, 0)
    scale = max(float(above.max()), 1e-30)
    design = np.stack([above / scale, np.ones_like(above)], axis=1)
    (slope, constant), _ = nnls(design * weight[:, None], variance * weight)
    return dataclasses.replace(sensor, alpha=float(slope) / scale, sigma=math.sqrt(float(constant)))
