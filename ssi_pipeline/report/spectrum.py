"""Radial power spectrum of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BINS = 48


def radial_power(values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return spatial frequencies (cycles per pixel, up to 1/2) and the mean power at each of an image y x.

    The mean is subtracted, non-finite pixels are replaced by it, and a Hann window prevents spectral leakage
    from the edges.
    """
    image = np.asarray(values, np.float64)
    known = np.isfinite(image)
    image = np.where(known, image, image[known].mean() if known.any() else 0.0)
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in image.shape))
    power = np.abs(np.fft.rfft2((image - image.mean()) * window)) ** 2 / (window**2).sum()
    radius = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])[None])
    bins = max(2, min(_BINS, min(image.shape) // 2))
    edges = np.linspace(0, 0.5, bins + 1)
    counts, _ = np.histogram(radius, edges)
    total, _ = np.histogram(radius, edges, weights=power)
    seen = (counts > 0) & (total > 0)
    return ((edges[1:] + edges[:-1]) / 2)[seen], total[seen] / counts[seen]
