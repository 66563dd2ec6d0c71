"""Resolution of a single image: Fourier ring correlation of its checkerboard halves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

THRESHOLD = 1 / 7
"""Correlation at which a signal-to-noise ratio is too low, fixed (Rosenthal and Henderson 2003, with halves)."""

_SMALLEST = 16
"""Pixels of a half along an axis, for enough rings."""

_TAPER = 0.25


def ring_correlation_resolution(image: NDArray[np.floating]) -> float:
    """Return the resolution in pixels, by the correlation of the image's halves falling below 1/7.

    The pixels with both y and x even are one half, those with both odd the other, and the two kinds of pixels that
    are left a second pair (Koho et al. 2019); the correlations are pooled over pairs and over planes. Halves have
    pixels twice as large, so no resolution better than 4 pixels can be told, which is then the result.

    Parameters
    ----------
    image
        (z) y x; rings lie in the plane y x.

    Returns
    -------
    resolution
        Pixels, 4 or more. NaN where the image is too small, or nothing correlates at all: all noise.

    Notes
    -----
    The window and the mean over three rings blur the end of a spectrum: up to three rings of half the side too fine.
    Noise that a filter has smoothed correlates between neighbours, so of estimates this is a bound, and no score.
    """
    planes = np.asarray(image, np.float64).reshape(-1, *image.shape[-2:])
    height, width = (n // 2 for n in planes.shape[1:])
    if min(height, width) < _SMALLEST:
        return float("nan")
    halves = [planes[:, a : 2 * height : 2, b : 2 * width : 2] for a, b in ((0, 0), (1, 1), (0, 1), (1, 0))]
    spectra = [fft.rfft2(_tapered(half)) for half in halves]
    rings = ring_numbers((height, width))
    top = min(height, width) // 2
    cross = np.zeros(top)
    power = np.zeros((2, top))
    for first, second in ((0, 1), (2, 3)):
        a, b = spectra[first], spectra[second]
        # the halves are one pixel apart along each axis: half a pixel of theirs, undone by the phase
        phase = _shift(height, width, 0.5 if first == 0 else -0.5)
        cross += _by_ring((a * (b * phase).conj()).real, rings, top)
        power += _by_ring(np.abs(a) ** 2, rings, top), _by_ring(np.abs(b) ** 2, rings, top)
    correlation = cross / np.sqrt(np.maximum(power[0] * power[1], 1e-300))
    return _first_below(correlation, min(height, width))


def _first_below(correlation: NDArray[np.float64], side: int) -> float:
    """Return the resolution, pixels of the image, at the first ring, smoothed over three, below the threshold."""
    smooth = np.convolve(np.pad(correlation[1:], 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    (below,) = np.nonzero(smooth < THRESHOLD)
    if not below.size:
        return 4.0
    first = int(below[0])
    if first == 0:
        return float("nan")
    high, low = smooth[first - 1], smooth[first]
    ring = first + (high - THRESHOLD) / (high - low)  # smooth[0] is ring 1
    return float(max(2 * side / ring, 4.0))


def ring_numbers(shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return the ring, in steps of the shorter side's frequency, of each value of ``rfft2``."""
    fy, fx = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None]
    return np.asarray(np.rint(np.hypot(fy, fx) * min(shape)), np.int64)


def _by_ring(values: NDArray[np.float64], rings: NDArray[np.int64], top: int) -> NDArray[np.float64]:
    total = np.bincount(rings.ravel(), values.sum(axis=0).ravel(), minlength=top)
    return np.asarray(total[:top], np.float64)


def _shift(height: int, width: int, dx: float) -> NDArray[np.complex128]:
    fy, fx = fft.fftfreq(height)[:, None], fft.rfftfreq(width)[None]
    return np.asarray(np.exp(-2j * np.pi * (0.5 * fy + dx * fx)), np.complex128)


def _tapered(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take the mean away and bring the borders to zero, so that they make no cross of high frequencies."""
    values = planes - planes.mean(axis=(1, 2), keepdims=True)
    return np.asarray(values * taper(planes.shape[1])[:, None] * taper(planes.shape[2])[None], np.float64)


def taper(n: int, share: float = _TAPER) -> NDArray[np.float64]:
    """Return a window of n values: 1 inside, half a cosine down to 0 over ``share`` of it at each end."""
    edge = np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / (share * n)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(edge, 0, 1)))
