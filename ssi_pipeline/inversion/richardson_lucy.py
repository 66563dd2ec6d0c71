"""Richardson-Lucy deconvolution (Richardson 1972, Lucy 1974), the field's yardstick."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

_SMALL = 1e-12


def richardson_lucy(
    y: NDArray[np.floating], psf: NDArray[np.floating], padding: int = 8
) -> Iterator[NDArray[np.float64]]:
    """Yield the estimates after 1, 2, 3, ... iterations, without end.

    Parameters
    ----------
    y
        Measurement, not negative, any number of axes.
    psf
        Sum 1, odd sizes, same number of axes.
    padding
        Pixels added on each side by reflection and cut off again (published protocol: 8).

    Yields
    ------
    x
        float64, shape of ``y``. The first estimate is the mean of ``y``.
    """
    padded = np.pad(np.asarray(y, np.float64), padding, mode="reflect")
    mirrored = np.flip(psf)
    x = np.full_like(padded, padded.mean())
    inner = tuple(slice(padding, n - padding) for n in padded.shape)
    while True:
        ratio = padded / np.maximum(fftconvolve(x, psf, mode="same"), _SMALL)
        x = x * fftconvolve(ratio, mirrored, mode="same")
        yield x[inner]
