"""Estimate the resolution of a single image by Fourier ring correlation of its checkerboard halves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

THRESHOLD = 1 / 7
"""Fixed threshold of the correlation between half data sets (Rosenthal and Henderson 2003)."""

_SMALLEST = 16
"""Smallest size in pixels of a half along an axis, for enough rings."""

_TAPER = 0.25
"""Share of an axis over which the window falls to 0 at each end."""


def ring_correlation_resolution(image: NDArray[np.floating]) -> float:
    """Return the resolution of an image: where the ring correlation of its halves falls below 1/7.

    Pixels with y and x even form one half, those with y and x odd the other; the remaining pixels form a second pair
    (Koho et al. 2019). Correlations are pooled over pairs and planes. Pixels of the halves are twice as large, so that
    no resolution better than 4 pixels is measurable: 4 is then returned.

    Parameters
    ----------
    image
        (z) y x, any units; rings lie in the plane y x.

    Returns
    -------
    resolution
        Pixels, >= 4. NaN where the image is smaller than 32 pixels, or no ring correlates (noise alone).

    Notes
    -----
    The window and the mean over three rings blur the end of a spectrum, which makes the result too fine by up to three
    rings of half the side. Smoothed noise correlates between neighbours: for an estimate this is a bound, not a score.
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
        # the halves are offset by one pixel along each axis, half a pixel of theirs: correct the phase
        phase = _shift(height, width, 0.5 if first == 0 else -0.5)
        cross += _by_ring((a * (b * phase).conj()).real, rings, top)
        power += _by_ring(np.abs(a) ** 2, rings, top), _by_ring(np.abs(b) ** 2, rings, top)
    correlation = cross / np.sqrt(np.maximum(power[0] * power[1], 1e-300))
    return _first_below(correlation, min(height, width))


def _first_below(correlation: NDArray[np.float64], side: int) -> float:
    """Return the resolution in pixels of the image at the first ring below the threshold, smoothed over three rings."""
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
    """Return the ring number of each value of ``rfft2``, in frequency steps of the shorter axis; y x."""
    fy, fx = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None]
    return np.asarray(np.rint(np.hypot(fy, fx) * min(shape)), np.int64)


def _by_ring(values: NDArray[np.float64], rings: NDArray[np.int64], top: int) -> NDArray[np.float64]:
    total = np.bincount(rings.ravel(), values.sum(axis=0).ravel(), minlength=top)
    return np.asarray(total[:top], np.float64)


def _shift(height: int, width: int, dx: float) -> NDArray[np.complex128]:
    fy, fx = fft.fftfreq(height)[:, None], fft.rfftfreq(width)[None]
    return np.asarray(np.exp(-2j * np.pi * (0.5 * fy + dx * fx)), np.complex128)


def _tapered(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Subtract the mean and taper the borders, which suppresses the spectral cross of the edges."""
    values = planes - planes.mean(axis=(1, 2), keepdims=True)
    return np.asarray(values * taper(planes.shape[1])[:, None] * taper(planes.shape[2])[None], np.float64)


def taper(n: int, share: float = _TAPER) -> NDArray[np.float64]:
    """Return a Tukey window of n values: 1 inside, a half cosine to 0 over a ``share`` of it at each end."""
    edge = np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / (share * n)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(edge, 0, 1)))
