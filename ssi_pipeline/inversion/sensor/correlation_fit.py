"""Estimate the autocorrelation of the noise from the spectrum of flat windows; None where the noise is white.

White noise has the same power at all frequencies, signal only at those that the PSF passes and only where there is
structure. The noise is called correlated if its power differs among the frequencies without signal, unless most of
the frequency plane has one power: white noise under a signal has such a plateau. Low-pass noise has none, other than
that of the rounding of its values. Noise of whole rows or columns is seen as a line in the spectrum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # loads optimize at its first use: workers that calibrate no channel do not need it
from numpy.typing import NDArray
from scipy import ndimage

from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.sensor.correlation import NoiseCorrelation, Offset, half_lags
from ssi_pipeline.inversion.sensor.flat_spectrum import (
    LOWEST,
    SIDE,
    FlatSpectrum,
    Floats,
    flat_spectrum,
    frequencies,
)

_SMALL = 2
"""Largest lag of the test: 12 lags describe the shape of the spectrum."""

_LARGE = 4
"""Largest lag of the estimate in the plane y x: noise smoothed by a Gaussian of sigma 1.5 has 0.17 at 4 pixels."""

LINE = 8
"""Largest lag along a row or a column with noise of its own, limited since hidden pixels cost as much as they have
neighbours: most of what the others tell of a row's offset is known from the nearest 16."""

_UNEVEN = {True: 0.22, False: 0.6}
"""Least standard deviation of the log spectrum of correlated noise, by ``FlatSpectrum.wide``. White noise: at most 0.20
with a wide PSF and 0.53 without, on scenes at 0.2 to 1000 photons; means of neighbours, any resampling: above these."""

_PLATEAU = {True: 0.5, False: 0.3}
"""White noise: at least this share of the plane has one level; measured as above."""

_WIDTH = 0.25
"""Relative width of a plateau around its level, the 20 % quantile of the power."""

_CORNER = {True: 0.5, False: 0.7}
"""Frequencies along y or x, as a share of the highest, above which the noise is judged: signal decays towards them."""

_SHARE = 0.25
"""Least share of frequencies at which the noise is judged."""

_ROUNDED = (0.6, 1.5)
"""A plateau within these limits, relative to the power of rounding, is that of rounding."""

_LEAST_RHO = 0.1
"""Least correlation of any two pixels that is reported: with less, nothing is lost."""

_LEAST_SHARED = 0.05
"""Least correlation, in magnitude, of pixels that share noise."""

_LEAST_BETWEEN = 0.2
"""Least correlation between planes: signal left at 1000 photons looks like 0.12; interpolation gives 0.25 and more."""

_RIDGE = 1e-3
"""Penalty on squared correlations times the fourth power of the lag, in mean squared relative errors. This and the
next were chosen by the error of rho on 10 kinds of correlation and five scenes."""

_TOP = 0.2
"""Least power of the frequencies that the noise is continued from, as a share of the largest."""

_PEAK = 3.0
"""Frequencies with this many times the power around them are lines of a grating."""

_EVEN = 0.4
"""Least power of a line at its 20 % quantile, relative to its median: structure along an axis has harmonics instead. As
a line has more than twice the noise of single pixels, it is structure too."""

_DEEP = 0.02
"""Least power in the weights of the fit, as a share of the mean: below, relative errors are those of rounding."""


@dataclass(frozen=True, slots=True)
class CorrelatedNoise:
    """Correlated noise as estimated: its correlation, and the variance of a pixel at a level, None where unknown."""

    correlation: NoiseCorrelation
    level: float = 0.0
    variance: float | None = None


def estimate_correlation(
    samples: Sequence[Measurement],
    deviation: Callable[[float], float],
    step: float,
    psf: Floats,
    reach: Offset | None = None,
) -> CorrelatedNoise | None:
    """Return the correlation of the noise; None where it is white, or cannot be told from signal.

    Parameters
    ----------
    samples
        Parts of the channel, normalised.
    deviation
        Standard deviation by level of the noise, up to a factor.
    step
        Step of quantised data; 0 where they are not.
    psf
        Axes (z) y x, sum 1.
    reach
        Largest lag along z y x of correlated noise, where it is known: all lags within it count.
    """
    if reach is not None and not any(reach):
        return None
    spectrum = flat_spectrum(samples, deviation, step, psf)
    if spectrum is None:
        return None if reach is None else _as_given(reach, {})
    total = float(spectrum.power[spectrum.quiet].mean()) if spectrum.quiet.any() else 1.0
    if reach is not None:
        return _as_given(reach, _rho(spectrum, half_lags(reach))[1] if spectrum.quiet.any() else {})
    rho: dict[Offset, float] = {}
    if is_uneven(spectrum):
        total, rho = _rho(spectrum, half_lags((0, _LARGE, _LARGE)))
    rho |= _between_planes(spectrum)
    for axis, share in enumerate(_lines(spectrum)):
        for d in range(1, LINE + 1) if share else ():
            lag = (0, 0, d) if axis == 0 else (0, d, 0)
            rho[lag] = rho.get(lag, 0.0) * (1 - share) + share
    kept = {lag: round(value, 4) for lag, value in rho.items() if abs(value) >= _LEAST_SHARED}
    if max(map(abs, kept.values()), default=0) < _LEAST_RHO:
        return None
    correlation = NoiseCorrelation(tuple(kept), tuple(kept.values()))
    return CorrelatedNoise(correlation, spectrum.level, total * spectrum.variance)


def _as_given(reach: Offset, rho: dict[Offset, float]) -> CorrelatedNoise:
    """Return a correlation with all lags within a configured reach."""
    lags = half_lags(reach)
    return CorrelatedNoise(NoiseCorrelation(lags, tuple(round(rho.get(lag, 0.0), 4) for lag in lags)))


def is_uneven(spectrum: FlatSpectrum) -> bool:
    """Return whether the power of the noise differs among the frequencies without signal."""
    y, x = frequencies()
    smooth, wide = spectrum.smooth, spectrum.wide
    high = np.maximum(np.abs(y), np.abs(x)) > _CORNER[wide] * np.pi - 1e-6
    part = smooth if wide else smooth[high]
    level = float(np.quantile(part, 0.2))
    rounded = _ROUNDED[0] * spectrum.rounding < level < _ROUNDED[1] * spectrum.rounding
    flat = float(np.mean(np.abs(part - level) < _WIDTH * level)) >= _PLATEAU[wide]
    judged = spectrum.quiet if rounded else spectrum.quiet & high
    if judged.mean() < _SHARE or (flat and not rounded):
        return False
    lags = half_lags((0, _SMALL, _SMALL))
    power = _series(_fit(smooth, judged.astype(float), lags), lags)[judged]
    return bool(np.std(np.log(np.maximum(power, _DEEP * np.median(power)))) > _UNEVEN[wide])


def _rho(spectrum: FlatSpectrum, lags: Sequence[Offset]) -> tuple[float, dict[Offset, float]]:
    """Return the mean power of the noise, and its autocorrelation at the lags.

    Where there may be signal the power of the noise is continued; it is no larger than that of both.
    """
    lowest = np.hypot(*frequencies()) < LOWEST
    known = spectrum.quiet & ~lowest
    guess = _continued(spectrum)
    power = np.where(known, spectrum.power, np.where(lowest, guess, np.minimum(spectrum.power, guess)))
    used = ~known | (spectrum.power < _PEAK * spectrum.smooth)
    inside = [lag for lag in lags if lag[0] == 0]
    found = _fit(power, used.astype(float), inside)
    rho = {lag: float(value) for lag, value in zip(inside, found[1:] / found[0], strict=True)}
    return float(found[0]), rho | _between_planes(spectrum)


def _between_planes(spectrum: FlatSpectrum) -> dict[Offset, float]:
    """Return the correlation between planes, from their cross-spectra at the frequencies without signal."""
    y, x = (k[spectrum.quiet] for k in frequencies())
    if not spectrum.wide or spectrum.quiet.mean() < _SHARE:
        return {}
    power = spectrum.smooth[spectrum.quiet]
    rho: dict[Offset, float] = {}
    sides = range(-_SMALL, _SMALL + 1)
    for z, cross in enumerate(spectrum.cross, start=1):
        lags = [(z, dy, dx) for dy in sides for dx in sides]
        design = np.stack([np.exp(-1j * (y * d[1] + x * d[2])) for d in lags], 1) / power[:, None]
        target = cross[spectrum.quiet] / power
        gram, side = (design.conj().T @ design).real, (design.conj().T @ target).real
        found = np.linalg.solve(gram + _RIDGE * len(power) / np.mean(power) ** 2 * np.eye(len(lags)), side)
        rho |= {lag: float(value / power.mean()) for lag, value in zip(lags, found, strict=True)}
    return rho if max(map(abs, rho.values()), default=0.0) > _LEAST_BETWEEN else {}


def _continued(spectrum: FlatSpectrum) -> NDArray[np.float64]:
    """Return the power of the noise at all frequencies: a Gaussian through the power where the noise is seen."""
    y, x = frequencies()
    smooth = spectrum.smooth
    smooth = smooth - min(spectrum.rounding, 0.9 * float(np.quantile(smooth, 0.05)))
    use = spectrum.quiet & (smooth > _TOP * smooth[spectrum.quiet].max())
    slopes = np.stack([-(y[use] ** 2), -(x[use] ** 2)], 1)
    height = np.log(smooth[use])
    fall = scipy.optimize.nnls(slopes - slopes.mean(0), height - height.mean())[0]
    top = height.mean() - (slopes @ fall).mean()
    return np.asarray(np.exp(top - fall[0] * y**2 - fall[1] * x**2))


def _lines(spectrum: FlatSpectrum) -> tuple[float, float]:
    """Return the share of the noise's variance that is common to a row, and to a column."""
    taper = np.hanning(SIDE + 2)[1:-1]
    gain = float(taper.sum() ** 2 / np.sum(taper**2))
    high = np.abs(frequencies()[0][:, 0]) > np.pi / 2
    shares = []
    for power, quiet in ((spectrum.power, spectrum.quiet), (spectrum.power.T, spectrum.quiet.T)):
        beside = [-4, -3, 3, 4]  # Hann's taper widens a line by two frequencies on either side
        along = high & quiet[:, beside].all(1)
        if along.mean() < _SHARE:
            shares.append(0.0)
            continue
        least, excess = (np.quantile(power[along, 0], (0.2, 0.5)) / np.median(power[along][:, beside]) - 1) / gain
        noise = _LEAST_RHO < excess < 1 and least > _EVEN * excess
        shares.append(float(excess / (1 + excess)) if noise else 0.0)
    return shares[0], shares[1]


def _fit(power: Floats, weight: Floats, lags: Sequence[Offset]) -> NDArray[np.float64]:
    """Return the cosine series fitted to a spectrum by relative least squares: its constant, then one per lag."""
    y, x = frequencies()
    use = weight > 0
    design = np.stack([np.ones(int(use.sum())), *(2 * np.cos(y[use] * d[1] + x[use] * d[2]) for d in lags)], 1)
    target, share = power[use].astype(np.float64), weight[use]
    expected = ndimage.uniform_filter(power, 5, mode="wrap")[use]
    far = np.array([0.0, *(float(d[1] ** 2 + d[2] ** 2) ** 2 for d in lags)])
    penalty = np.diag(far) * _RIDGE * share.sum()
    for _ in range(6):
        scaled = design * (share / expected**2)[:, None]
        found = np.linalg.solve(scaled.T @ design + penalty / np.mean(expected) ** 2, scaled.T @ target)
        expected = np.maximum(design @ found, _DEEP * max(float(found[0]), float(np.median(target))))
    return np.asarray(found)


def _series(coefficients: Floats, lags: Sequence[Offset]) -> NDArray[np.float64]:
    y, x = frequencies()
    total = np.full(y.shape, float(coefficients[0]))
    for c, d in zip(coefficients[1:], lags, strict=True):
        total += 2 * float(c) * np.cos(y * d[1] + x * d[2])
    return total
