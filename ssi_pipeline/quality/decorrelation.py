"""Estimate the resolution of a single image by decorrelation analysis (Descloux et al. 2019), without a threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ssi_pipeline.quality.resolution import ring_numbers, taper

_FILTERS = 10
"""Number of high-pass filters, as in the paper."""

_PROMINENCE = 5e-4
"""Smallest drop of a curve after its peak, from the authors' program."""

_SMALLEST = 32
"""Smallest size in pixels along an axis."""


def decorrelation_resolution(image: NDArray[np.floating]) -> float:
    """Return the resolution of an image: 2 pixels over the highest peak frequency, as a share of Nyquist.

    Descloux, Grussmayer and Radenovic 2019, eq. 1: the correlation of the image with its own phases, both cut off at
    the frequency r, rises while r adds signal and falls when it adds noise. Stronger high-pass filters move the peak
    to the highest frequency with signal. All filters are radial, so that sums over rings suffice: one Fourier
    transform per plane.

    Parameters
    ----------
    image
        (z) y x, any units; frequencies are those of the plane y x, curves are pooled over planes.

    Returns
    -------
    resolution
        Pixels, >= 2; NaN where the image is smaller than 32 pixels or no curve has a peak.
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
        # rfft2 stores half of the spectrum: its columns count twice, except the first and (even sizes) the last
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
    """Return the index of the highest value after which the curve falls again; 0 where there is none."""
    stop = len(curve)
    while stop > 1:
        best = int(np.argmax(curve[:stop]))
        if best == 0:
            return 0
        if best < stop - 1 and curve[best] - curve[best:].min() >= _PROMINENCE:
            return best
        stop = best
    return 0
