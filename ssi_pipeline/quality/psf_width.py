"""Find out whether an image has finer detail than a PSF of the given width can pass, from its power spectrum.

The spectrum of an image is S(k) = g(k) |H(k)|^2 + N: that of the scene times the PSF's, and white noise. Spectra of
scenes fall with frequency (Field 1987: edges as k^-2, points not at all), so g is any function that does not rise. A
PSF that is too wide needs one that rises, as its |H|^2 falls more steeply than the image does. Narrower PSFs fit at
least as well, since |H(f k)|^2 / |H(k)|^2 with f < 1 rises: the models are nested, and the gain of a narrower one is a
test of the given width. There is none for a PSF that is too narrow: a smoother scene explains the same image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # loads optimize at its first use: workers that calibrate no channel do not need it
from numpy.typing import NDArray

FACTORS = (1.0, 0.8, 0.72, 0.65, 0.58, 0.5, 0.4)
"""Widths that are tried, as shares of the given one. The first below 1 decides: less is no matter of concern."""

_RINGS = 32
"""Rings of frequencies up to the highest: as many as a window of 64 pixels resolves."""

_LOWEST = 3
"""Lowest frequency in periods per window: the window function leaks from the mean below it."""

_DIRECTIONS = 8
"""Directions in which |H|^2 is computed; the largest counts, so that no direction of an object raises the test."""

_LEAST_POWER = 1e-6
"""Least |H|^2: amplitudes below 1e-3 of the mean are not known of any PSF, cut off and measured as they are."""

_SYSTEMATIC = 0.2
"""Relative error of a ring's power beyond that of independent modes: few or equal objects make fringes. With 0.2 right
PSFs reach a gain of 8.6 in 0.5 % of 840 synthetic images, without it 29, and what is found at that rate is the same."""

_LIMIT = 12.0
"""Gain of 0.8 of the width above which the given one does not fit: 2 of 1260 images with the right PSF (beads, discs,
nuclei, filaments, membranes, textures; 2 to 1000 photons) reach it. Regular lattices and gratings do in a fifth of
cases."""

_FAR_LIMIT = 40.0
"""The same for the gain of the best width: a PSF three times too wide passes as little at 0.8 of its width. The largest
of 840 images with the right PSF was 23 (to 0.5 of the width)."""

_NEAR, _NEAR_SHARE = 0.92, 0.25
"""A width that is so near to the given one must leave at least this share of its excess deviance: PSFs are not known
better, and bright points show that one was computed with, and the image without, the integration over pixels."""

_FEWEST_RINGS = 8
"""Fewest rings of a result: windows of 16 pixels have them."""

_SHARE = 0.03
"""A width fits whose deviance is this share of the given width's above the best: rings beyond the cut-off have little
weight, and the best is always the narrowest."""

_INDEPENDENT = 0.25
"""Independent modes per mode of a Hann window: half of them are conjugates, and neighbours correlate."""

_ROUNDS = 12
"""Rounds of reweighted least squares: with the right PSF the deviance is within 1e-6 of that after 40. With one that
is twice too wide it may still be 40 % above it, but is in the hundreds by then."""


@dataclass(frozen=True, slots=True)
class WidthFit:
    """How well widths of the PSF fit.

    Attributes
    ----------
    factor
        The largest width that fits, as a share of the given one; 1 where that fits.
    gain
        Fall of the deviance (twice the log likelihood) from the given width to 0.8 of it, over what the best fit leaves
        per ring.
    """

    factor: float
    gain: float


def fit_width(
    windows: Sequence[NDArray[np.floating]], psf: NDArray[np.floating], noise: NDArray[np.floating] | None = None
) -> WidthFit | None:
    """Find the largest width of the PSF that fits the power spectrum of an image; None for too small windows.

    Parameters
    ----------
    windows
        Parts of planes y x, any units, all of one size, with impulses repaired.
    psf
        (z) y x, centred.
    noise
        Power spectrum of the noise on the grid of a window, in the order of ``fft2``, any units; None: white.
    """
    k, power, modes, colour = _ring_power(windows, noise)
    if len(k) < _FEWEST_RINGS:
        return None
    tried = (*FACTORS, _NEAR)
    deviance = np.array([_deviance(power, modes, _transfer(psf, k * factor), colour) for factor in tried])
    *worse, near = (deviance - deviance.min()) / max(deviance.min() / len(k), 1.0)
    gain = float(worse[0] - worse[1])
    if (gain <= _LIMIT and worse[0] <= _FAR_LIMIT) or near <= _NEAR_SHARE * worse[0]:
        return WidthFit(1.0, gain)
    fits = [factor for factor, w in zip(FACTORS[1:], worse[1:], strict=True) if w <= max(_LIMIT, _SHARE * worse[0])]
    return WidthFit(max(fits), gain)


def _ring_power(
    windows: Sequence[NDArray[np.floating]], noise: NDArray[np.floating] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return frequency (periods per pixel), mean power, number of independent modes and noise power of each ring."""
    shape = windows[0].shape
    hann = np.hanning(shape[0] + 2)[1:-1, None] * np.hanning(shape[1] + 2)[None, 1:-1]
    total = np.zeros(shape)
    for window in windows:
        mean = float((window * hann).sum() / hann.sum())
        total += np.abs(np.fft.fft2((window - mean) * hann)) ** 2
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None])
    ring = np.floor(2 * _RINGS * frequency).astype(int)
    use = (ring < _RINGS) & (frequency * min(shape) >= _LOWEST)
    count = np.bincount(ring[use], minlength=_RINGS)
    power = np.bincount(ring[use], total[use], _RINGS)
    centre = np.bincount(ring[use], frequency[use], _RINGS)
    given = np.ones(shape) if noise is None else noise
    colour = np.bincount(ring[use], given[use], _RINGS)
    some = (count > 0) & (power > 0)
    count = count[some]
    modes = count * len(windows) * _INDEPENDENT
    return (
        centre[some] / count,
        power[some] / count,
        modes / (1 + modes * _SYSTEMATIC**2),
        np.maximum(colour[some] / count, _LEAST_POWER),
    )


def _transfer(psf: NDArray[np.floating], k: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest |H|^2 of any plane of the PSF in any direction, at radial frequencies."""
    planes = psf.reshape(-1, *psf.shape[-2:]).astype(np.float64)
    y, x = (np.arange(n) - n // 2 for n in planes.shape[1:])
    found = np.full(len(k), _LEAST_POWER)
    for angle in np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS:
        # separable: exp(-2 pi i k (y sin + x cos)), for each frequency
        along = np.exp(-2j * np.pi * k[:, None] * np.sin(angle) * y)
        across = np.exp(-2j * np.pi * k[:, None] * np.cos(angle) * x)
        amplitude = np.einsum("ky,zyx,kx->zk", along, planes, across, optimize=True)
        found = np.maximum(found, (np.abs(amplitude) ** 2).max(0))
    return found


def _deviance(
    power: NDArray[np.float64], modes: NDArray[np.float64], transfer: NDArray[np.float64], noise: NDArray[np.float64]
) -> float:
    """Return the deviance of the best fit g |H|^2 + N with g >= 0 not rising, N >= 0; powers are exponential.

    Twice the log likelihood below that of the spectrum itself. g is a sum of steps, so that the fit is a non-negative
    least squares problem, reweighted by the fitted power.
    """
    rings = len(power)
    steps = transfer[:, None] * (np.arange(rings)[:, None] <= np.arange(rings)[None])
    # white noise is always a part: rounding, and errors of the spectrum that is given
    columns = np.concatenate([steps, noise[:, None], np.ones((rings, 1))], axis=1)
    fitted, least = power, np.inf
    for _ in range(_ROUNDS):
        weight = np.sqrt(modes) / fitted
        weighted = columns * weight[:, None]
        size = np.linalg.norm(weighted, axis=0)
        amounts, _residual = scipy.optimize.nnls(weighted / size, power * weight)
        found = np.maximum(columns @ (amounts / size), 1e-9 * power.max())
        least = min(least, float(2 * np.sum(modes * (np.log(found / power) + power / found - 1))))
        fitted = 0.5 * (fitted + found)
    return least
