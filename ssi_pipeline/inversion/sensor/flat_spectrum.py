"""Measure the power spectrum of the noise in the flattest windows of the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from ssi_pipeline.inversion.measurement import Measurement

Floats = NDArray[np.floating]
Flags = NDArray[np.bool_]

SIDE = 32
"""Side of a window in pixels: small enough to lie between structures, and it resolves lags up to 8."""

_STEP = 16
"""Distance of windows: under Hann's taper, half overlap uses all of the data."""

_MOST = 4000
"""Most windows: the power at each frequency is then known to 3 %."""

_FLATTEST = 0.3
"""Share of the windows that is used: those with the least power at low frequencies."""

_FEWEST = 6
"""Fewest windows: with fewer nothing is estimated."""

LOWEST = 3.6 * 2 * np.pi / SIDE
"""Radians per pixel. Lower frequencies rank the windows and are used for nothing else, so that ranking adds no bias."""

_OBSERVED = 0.75
"""Least share of observed pixels of a window."""

_OUTLIER = 6.0
"""Distance of outliers from the window's plane, in root mean squares: a hot pixel has the spectrum of white noise."""

_ALONE = 0.3
"""Largest share of an outlier in the pixels beside it; blurred points have more and stay, since a hole in one has power
at all frequencies: with bright points in every window, white noise was found to be correlated in 17 % of the cases."""

_BESIDE = np.array([[[0, 1, 0], [1, 0, 1], [0, 1, 0]]], bool)

_PLANES = 2
"""Planes above a window with which its noise is compared, in three dimensions."""

_SIGNAL = 0.15
"""Largest share of signal in the power at a frequency at which the noise is judged. This and the next three were chosen
on seven scenes at 0.2 to 1000 photons, PSFs of 0 to 8 pixels, so that white noise is not found to be correlated."""

_WIDE = 0.25
"""Least share of frequencies that the PSF has to leave without signal; with less, windows are compared."""

_CONTRAST = 0.3
"""Least relative difference of the power at low frequencies between windows by which signal is told from noise."""

_INDEPENDENT = 8.0
"""Independent values in a median over 5 x 5 frequencies: Hann's taper correlates neighbours, a median uses 64 %."""


@dataclass(frozen=True, slots=True)
class FlatSpectrum:
    """The spectrum of the flattest windows; arrays y x in the order of ``fft2``, ``SIDE`` x ``SIDE``.

    Attributes
    ----------
    power
        Mean power, 1 for white noise of the variance assumed.
    quiet
        True at frequencies where the signal is negligible.
    wide
        The PSF leaves enough frequencies without signal; otherwise ``quiet`` is known from comparing windows only.
    rounding
        Power of the rounding of quantised data.
    level, variance
        Mean level of the windows, and the variance assumed there.
    cross
        Mean cross-spectra with the planes 1, 2, ... above, complex.
    """

    power: NDArray[np.float64]
    quiet: Flags
    wide: bool
    rounding: float
    level: float
    variance: float
    cross: tuple[NDArray[np.complexfloating], ...] = ()

    @property
    def smooth(self) -> NDArray[np.float64]:
        """Median of the power over 5 x 5 frequencies, which the lines of a grating or of row noise do not reach."""
        return _smooth(self.power)


def frequencies() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return k along y and along x in radians per pixel, each ``SIDE`` x ``SIDE``."""
    k = 2 * np.pi * fft.fftfreq(SIDE)
    along_y, along_x = np.meshgrid(k, k, indexing="ij")
    return along_y, along_x


def flat_spectrum(
    samples: Sequence[Measurement], deviation: Callable[[float], float], step: float, psf: Floats
) -> FlatSpectrum | None:
    """Return the spectrum of the flattest windows of the samples; None with too few.

    Parameters
    ----------
    samples
        Parts of the channel, normalised.
    deviation
        Standard deviation of the noise by level.
    step
        Step of quantised data; 0 where they are not.
    psf
        Axes (z) y x, sum 1.
    """
    found = list(_windows(samples, deviation, psf.ndim))
    if len(found) < _FEWEST:
        return None
    spectra, levels = np.array([f[0] for f in found]), np.array([f[1] for f in found])
    radius, power = np.hypot(*frequencies()), np.abs(spectra[:, 0]) ** 2
    low = (radius > 0) & (radius < LOWEST)
    energy = power[:, low].mean(1)
    order = np.argsort(energy, kind="stable")
    count = max(int(_FLATTEST * len(order)), _FEWEST)
    kept, rest = order[:count], order[count : 2 * count]
    flat, faint = power[kept].mean(0), float(energy[kept].mean())
    beyond = (radius >= LOWEST) & _beyond_psf(flat, faint, psf, low)
    wide = bool(beyond.mean() >= _WIDE)
    quiet = beyond if wide else radius >= LOWEST
    more = float(energy[rest].mean()) - faint if len(rest) == count else 0.0
    if more > _CONTRAST * faint:
        quiet = quiet & _without_growth(flat, power[rest].mean(0), faint / more, count, beyond)
    elif not wide:
        quiet = beyond
    cross = (spectra[kept, 1:] * np.conj(spectra[kept, :1])).mean(0)
    variance = float(np.exp(np.mean([2 * np.log(deviation(level)) for level in levels[kept].tolist()])))
    return FlatSpectrum(flat, quiet, wide, step**2 / 12 / variance, float(levels[kept].mean()), variance, tuple(cross))


def _beyond_psf(flat: Floats, faint: float, psf: Floats, low: Flags) -> Flags:
    """Return True where what passed the PSF is negligible, even if all power at low frequencies were signal."""
    plane = psf if psf.ndim == 2 else psf.sum(0)
    transfer = np.abs(fft.fft2(plane.astype(np.float64), s=(SIDE, SIDE))) ** 2
    signal = faint * transfer / float(np.median(transfer[low]))
    return np.asarray(signal < _SIGNAL * _smooth(flat))


def _without_growth(flat: Floats, next_flat: Floats, ratio: float, count: int, beyond: Flags) -> Flags:
    """Return True where the power does not grow, from window to window, with that at low frequencies as signal does.

    This also finds the signal beyond a PSF that is too wide. ``ratio``: power at low frequencies over its growth.
    """
    smooth = _smooth(flat)
    factor = _smooth(next_flat) / smooth
    if beyond.any():  # noise that grows with the level by more than assumed grows by one factor at all frequencies
        factor = factor / max(float(np.quantile(factor[beyond], 0.25)), 1.0)
    error = 2 / np.sqrt(count * _INDEPENDENT)
    return np.asarray((factor - 1) * ratio < _SIGNAL + error * ratio)


def _smooth(power: Floats) -> NDArray[np.float64]:
    return np.asarray(ndimage.median_filter(power, 5, mode="wrap"), np.float64)


def _windows(
    samples: Sequence[Measurement], deviation: Callable[[float], float], axes: int
) -> Iterator[tuple[NDArray[np.complexfloating], float]]:
    """Yield the spectra of a window in successive planes, planes y x, and the mean level of the first."""
    usable = [s for s in samples if min(s.y.shape[1:]) >= SIDE]
    deep = min([_PLANES, *(s.y.shape[0] - 1 for s in usable)]) if axes == 3 else 0
    places = [
        (s, z, y, x)
        for s in usable
        for z in range(s.y.shape[0] - deep)
        for y in range(0, s.y.shape[1] - SIDE + 1, _STEP)
        for x in range(0, s.y.shape[2] - SIDE + 1, _STEP)
    ]
    taper = np.hanning(SIDE + 2)[1:-1]
    window = np.outer(taper, taper)
    for sample, z, y, x in places[:: max(-(-len(places) // _MOST), 1)]:
        box = (slice(z, z + deep + 1), slice(y, y + SIDE), slice(x, x + SIDE))
        seen = sample.observed[box]
        if seen.mean(axis=(1, 2)).min() < _OBSERVED:
            continue
        level, residual = _flattened(sample.y[box].astype(np.float64), seen)
        spread = deviation(level)
        if residual[0].any() and spread > 0:
            weight = np.sqrt(np.sum(np.square(window * seen), axis=(1, 2), keepdims=True))
            yield (fft.fft2(residual * window) / (weight * spread)).astype(np.complex64), level


def _flattened(y: NDArray[np.float64], seen: Flags) -> tuple[float, NDArray[np.float64]]:
    """Return the mean level, and the planes y x minus their least-squares plane; outliers and unseen pixels are 0."""
    ramp = (np.arange(SIDE) - (SIDE - 1) / 2) / SIDE
    count = seen.sum(axis=(1, 2), keepdims=True)
    level = np.where(seen, y, 0).sum(axis=(1, 2), keepdims=True) / count
    left = np.where(seen, y - level, 0)
    for slope in (ramp[:, None], ramp[None, :]):
        tilt = (left * slope).sum((1, 2), keepdims=True) / (np.sum(slope**2) * SIDE)
        left = np.where(seen, left - slope * tilt, 0)
    limit = _OUTLIER * np.sqrt(np.square(left).sum((1, 2), keepdims=True) / count)
    size = np.abs(left)
    alone = ndimage.maximum_filter(size, footprint=_BESIDE, mode="nearest") < _ALONE * size
    return float(level[0, 0, 0]), np.where((size > limit) & alone, 0, left)
