"""Resolution of a single image without any threshold: decorrelation analysis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ssi_pipeline.quality.resolution import ring_numbers, taper

_FILTERS = 10
"""High-pass filters, as in the paper."""

_PROMINENCE = 5e-4
"""By how much a curve has to fall after its peak; from the paper's program."""

_SMALLEST = 32


def decorrelation_resolution(image: NDArray[np.floating]) -> float:
    """Return the resolution in pixels: 2 over the highest frequency, as a share of the highest, that has a peak.

    Descloux, Grussmayer and Radenovic 2019, eq. 1: the correlation of the image with its own phases alone, both cut
    at the frequency r, rises as long as r brings in signal and falls when it brings in noise. Sharper and
    sharper high-pass filters move the peak to the highest frequency that has signal. All filters are rings,
    so sums over rings are all that is needed: one Fourier transform a plane.

    Parameters
    ----------
    image
        (z) y x; frequencies are those of the plane y x, curves are pooled over planes.

    Returns
    -------
    resolution
        Pixels, 2 or more; NaN where the image is too small or no curve has a peak.
    """
    planes = np.asarray(image, np.float64).reshape(-1, *image.shape[-2:])
    shape = (planes.shape[1], planes.shape[2])
    if min(shape) < _SMALLEST:
        return float("nan")
    window = taper(shape[0])[:, None] * taper(shape[1])[None]
    moduli = np.abs(fft.rfft2((planes - planes.mean(axis=(1, 2), keepdims=True)) * window))
    rings, top = ring_numbers(shape), min(shape) // 2 + 1

    def by_ring(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sums over rings of a half spectrum (y x), one for each radius from 0."""
        # of a real image half of the spectrum is not stored; its columns count twice, the two at the ends once
        twice = np.full(values.shape, 2.0)
        twice[:, 0] = 1.0
        if shape[1] % 2 == 0:
            twice[:, -1] = 1.0
        return np.asarray(np.bincount(rings.ravel(), (values * twice).ravel(), minlength=top)[:top], np.float64)

    first = by_ring(moduli.sum(axis=0))
    second = by_ring(np.square(moduli).sum(axis=0))
    count = by_ring(np.full(moduli.shape[1:], float(len(planes))))
    radius = np.arange(top) / (top - 1)
    peaks = [_peak(_curve(first, second, count, filtered)) for filtered in _high_pass(radius)]
    best = max(peaks)
    return float(2 / radius[best]) if best > 0 else float("nan")


def _high_pass(radius: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return 1, and 1 - exp(-2 (pi s r)^2) for Gaussians of s pixels from weak to strong high-pass filtering."""
    side = 2 * (len(radius) - 1)
    sigmas = np.geomspace(side / 8, 0.15, _FILTERS)
    return [np.ones_like(radius), *(1 - np.exp(-2 * (np.pi * s * radius / 2) ** 2) for s in sigmas)]


def _curve(
    first: NDArray[np.float64], second: NDArray[np.float64], count: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return d(r) = sum_{k<r} |I| / sqrt(sum |I|^2 * number of k < r), from sums over rings."""
    total = float((second * weight**2).sum())
    if total <= 0:
        return np.zeros_like(first)
    return np.asarray(np.cumsum(first * weight) / np.sqrt(total * np.maximum(np.cumsum(count), 1)), np.float64)


def _peak(curve: NDArray[np.float64]) -> int:
    """Return the place of the highest value that the curve falls from again; 0 where there is none."""
    stop = len(curve)
    while stop > 1:
        best = int(np.argmax(curve[:stop]))
        if best == 0:
            return 0
        if best < stop - 1 and curve[best] - curve[best:].min() >= _PROMINENCE:
            return best
        stop = best
    return 0
