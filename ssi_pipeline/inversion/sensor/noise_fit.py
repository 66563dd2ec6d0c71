"""Fit the noise of the sensor to samples, without ground truth: alpha and sigma of s^2 = alpha (z - dark) + sigma^2.

Following Foi et al. (2008), the noise is inferred from the spread of residuals at each mean report, given how clipping
changes mean and spread. Clipped pixels are therefore used: in a dark scene there are hardly others.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy  # loads optimize at its first use: workers that calibrate no channel do not need it
import torch
from numpy.typing import NDArray

from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.sensor.clipped_spread import MEDIAN_OF_NORMAL, clipped_spread
from ssi_pipeline.inversion.sensor.correlation import NoiseCorrelation
from ssi_pipeline.inversion.sensor.noise_bins import Floats, NoiseBins, gather
from ssi_pipeline.inversion.sensor.stencil import Stencil
from ssi_pipeline.physics.sensor import CensoredSensor

_MOST_CLIPPED = 0.8
"""Largest share of clipped pixels of a bin: with more, most residuals are 0."""

_MISFIT = 0.02
"""Relative error of a bin's spread due to structure and its range of levels, whatever its number of pixels."""

_CORRELATED = 2.0
"""Pixels per independent residual: residuals of neighbours share pixels."""

_COARSE = 2.0
"""Spread in steps of the data below which the root mean square replaces the median: few counts, or coarse steps."""

_GRID = 4001
"""Levels in the table of mean reports."""

_STEP = 0.01
"""Change of alpha and sigma^2 for derivatives, as a share of the typical variance over the range of levels."""

_SINGULAR = 1e-9
"""Least determinant of the normal equations, relative to that without correlation: rounding errors."""

Covariance = NDArray[np.float64]
"""Covariance of the fitted (alpha, sigma^2), 2 x 2."""


def estimate_noise(
    samples: Sequence[Measurement],
    low: float = -math.inf,
    high: float = math.inf,
    dark: float | None = None,
    rough: CensoredSensor | None = None,
    correlation: NoiseCorrelation | None = None,
) -> CensoredSensor:
    """Fit the noise of a sensor with known limits; see ``fit_noise``."""
    return fit_noise(samples, low, high, dark, rough, correlation)[0]


def fit_noise(
    samples: Sequence[Measurement],
    low: float = -math.inf,
    high: float = math.inf,
    dark: float | None = None,
    rough: CensoredSensor | None = None,
    correlation: NoiseCorrelation | None = None,
) -> tuple[CensoredSensor, Covariance]:
    """Fit the noise of a sensor with known limits, and estimate the error of the fit.

    Parameters
    ----------
    samples
        Parts of the channel, normalised.
    low, high
        Levels at which the sensor clips; infinite where it does not.
    dark
        Level above which the variance grows; None: that of the darkest bin.
    rough
        Earlier estimate, used to exclude outliers; None: an estimate that includes them.
    correlation
        Correlation of the noise between pixels; None where it is white.

    Returns
    -------
    sensor
        Noise with the given limits, normalised units; sigma 0 without noise or without usable pixels.
    covariance
        That of (alpha, sigma^2); infinite where they cannot be told apart.
    """
    stencil = Stencil.of(correlation)
    if rough is None:
        rough = _fit(gather(samples, None, (low, high), stencil), low, high, dark)[0]
    if rough.sigma == 0 and rough.alpha == 0:
        return rough, np.full((2, 2), np.inf)
    return _fit(gather(samples, lambda level: _deviation(rough, level), (low, high), stencil), low, high, dark)


def _deviation(sensor: CensoredSensor, level: Floats) -> Floats:
    deviation: Floats = sensor.deviation(torch.from_numpy(np.asarray(level))).numpy()
    return deviation


def _fit(bins: NoiseBins, low: float, high: float, dark: float | None) -> tuple[CensoredSensor, Covariance]:
    """Return the noise fitted to the bins, with a soft l1 loss as structure widens some of them."""
    use = bins.where(bins.clipped <= _MOST_CLIPPED)
    bins = use if len(use) else bins
    if not len(bins) or not bins.square.any():
        return CensoredSensor(0.0, 0.0, low, high), np.full((2, 2), np.inf)
    coarse = bins.square < _COARSE * bins.step
    spread = np.where(coarse, bins.square, bins.median / MEDIAN_OF_NORMAL)
    darkest = float(np.clip(bins.mean.min(), low, high))
    noiseless = CensoredSensor(0.0, 0.0, low, high, darkest if dark is None else dark)
    start = _start(bins.mean, spread, noiseless)
    if dark is None:  # where clipped, the mean report of the darkest bin is above its level
        darkest = float(np.clip(level_of(start, bins.mean.min(keepdims=True))[0], low, high))
        start = dataclasses.replace(start, dark=darkest)
    return _refine(start, bins, spread, coarse)


def _refine(
    start: CensoredSensor, bins: NoiseBins, spread: NDArray[np.float64], coarse: NDArray[np.bool_]
) -> tuple[CensoredSensor, Covariance]:
    """Return the sensor that minimises the misfit of the bins' log spreads, and the covariance of the fit."""
    error = np.sqrt(_CORRELATED * 1.36 / bins.pixels + _MISFIT**2)  # 1.36 / n: variance of log MAD of a normal
    measured = np.log(np.maximum(spread, 1e-7))
    typical = max(float(np.median(spread)), 1e-6)
    scale = typical * np.array([1 / math.sqrt(max(float(np.ptp(bins.mean)), 1e-6)), 1.0])

    def sensor(x: NDArray[np.float64]) -> CensoredSensor:
        """Return the sensor of the scaled parameters (root of alpha, sigma)."""
        root, sigma = (x * scale).tolist()  # the root of alpha has the order of magnitude of sigma
        return dataclasses.replace(start, alpha=root**2, sigma=sigma)

    def misfit_of(tried: CensoredSensor) -> NDArray[np.float64]:
        """Return the misfit of each bin's log spread, in units of its error."""
        expected = np.log(np.maximum(_expected_spread(tried, bins.mean, coarse), 1e-7))
        misfits: NDArray[np.float64] = (expected - measured) / error
        return misfits

    def misfit(x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the misfit of the scaled parameters."""
        return misfit_of(sensor(x))

    # clipping narrows the noise in the dark, which photon noise mimics: a second local minimum, so start from both
    starts = (np.array([math.sqrt(start.alpha), start.sigma]) / scale, np.array([0.1, 1.0]))
    fits = [
        scipy.optimize.least_squares(misfit, np.maximum(x, 0.01), bounds=(0, np.inf), loss="soft_l1", max_nfev=50)
        for x in starts
    ]
    found = sensor(min(fits, key=lambda fit: float(fit.cost)).x)
    return found, _covariance(found, misfit_of, typical**2, max(float(np.ptp(bins.mean)), 1e-6))


def _covariance(
    found: CensoredSensor,
    misfit_of: Callable[[CensoredSensor], NDArray[np.float64]],
    variance: float,
    span: float,
) -> Covariance:
    """Return the covariance of (alpha, sigma^2), from derivatives and the size of the misfits (chi^2 of at least 1)."""
    steps = _STEP * variance * np.array([1 / span, 1.0])
    moved = (
        dataclasses.replace(found, alpha=found.alpha + float(steps[0])),
        dataclasses.replace(found, sigma=math.sqrt(found.sigma**2 + float(steps[1]))),
    )
    misfits = misfit_of(found)
    slopes = np.stack([(misfit_of(other) - misfits) / step for other, step in zip(moved, steps, strict=True)], axis=1)
    information = slopes.T @ slopes
    if misfits.size <= 2 or not np.linalg.det(information) > _SINGULAR * float(np.prod(np.diag(information))):
        return np.full((2, 2), np.inf)
    spread = max(float(misfits @ misfits) / (misfits.size - 2), 1.0)
    covariance: Covariance = np.linalg.inv(information) * spread
    return covariance


def _expected_spread(
    sensor: CensoredSensor, mean: NDArray[np.float64], coarse: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the expected spread at a mean report: robust, or (coarse) the standard deviation."""
    level = level_of(sensor, mean)
    s = _deviation(sensor, level)
    # treats the limits independently: an approximation where the range is narrower than 5 s
    robust = s * clipped_spread((level - sensor.low) / s) * clipped_spread((sensor.high - level) / s)
    expected: NDArray[np.float64] = robust / MEDIAN_OF_NORMAL**2
    if coarse.any():  # most sensors have no such bin, and the fit asks some thirty times
        expected = np.where(coarse, np.sqrt(sensor.variance(torch.from_numpy(level)).numpy()), expected)
    return expected


def level_of(sensor: CensoredSensor, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the levels of mean reports by a table up to 3 s beyond the limits."""
    if sensor.is_linear:
        return mean
    s = _deviation(sensor, np.array([max(sensor.low, mean.min()), min(sensor.high, mean.max())]))
    bottom = sensor.low - 3 * s[0] if math.isfinite(sensor.low) else mean.min() - s[0]
    top = sensor.high + 3 * s[1] if math.isfinite(sensor.high) else mean.max() + s[1]
    levels = np.linspace(bottom, top, _GRID)
    reports = sensor(torch.from_numpy(levels)).numpy()
    return np.interp(mean, reports, levels)


def _start(mean: NDArray[np.float64], spread: NDArray[np.float64], sensor: CensoredSensor) -> CensoredSensor:
    """Return the start of the fit: non-negative least squares of relative errors, as if nothing clipped."""
    variance = spread**2
    weight = 1 / np.maximum(variance, 1e-3 * float(variance.max()))
    above = np.maximum(mean - sensor.dark, 0)
    scale = max(float(above.max()), 1e-30)
    design = np.stack([above / scale, np.ones_like(above)], axis=1)
    (slope, constant), _ = scipy.optimize.nnls(design * weight[:, None], variance * weight)
    return dataclasses.replace(sensor, alpha=float(slope) / scale, sigma=math.sqrt(float(constant)))
