"""Choose the size of a grid for fast Fourier transforms."""

from __future__ import annotations

from scipy.fft import next_fast_len

from ssi_pipeline.geometry.boxes import Ints


def fast_size(shape: Ints, margin: Ints | None = None) -> Ints:
    """Return the size of a grid that an image fits with a margin (default: none), and whose real FFT is fast."""
    return tuple(int(next_fast_len(n + m, real=True)) for n, m in zip(shape, margin or (0,) * len(shape), strict=True))
