"""Richardson-Lucy deconvolution (Richardson 1972, Lucy 1974), the baseline of the field."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

_SMALL = 1e-12


def richardson_lucy(y: NDArray[np.floating], psf: NDArray[np.floating]) -> Iterator[NDArray[np.float64]]:
    """Yield the estimates after 1, 2, 3, ... iterations, indefinitely.

    Both convolutions of an iteration pad by reflection, as in the published protocol: padding the
    measurement only once changes the spectral metrics in the second digit.

    Parameters
    ----------
    y
        Measurement, non-negative, any number of axes, each longer than the PSF's radius.
    psf
        Sum 1, odd sizes, same number of axes.

    Yields
    ------
    x
        float64, shape of ``y``. The first estimate is the mean of ``y``.
    """
    measured = np.asarray(y, np.float64)
    mirrored = np.flip(psf)
    radius = [(n // 2, n // 2) for n in psf.shape]
    x = np.full_like(measured, measured.mean())
    while True:
        blurred = fftconvolve(np.pad(x, radius, mode="reflect"), psf, mode="valid")
        ratio = np.pad(measured / np.maximum(blurred, _SMALL), radius, mode="reflect")
        x = x * fftconvolve(ratio, mirrored, mode="valid")
        yield x
