"""The degradation of the published benchmark (Kobayashi et al., arXiv 2006.06156, and its code)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import convolve

from ssi_pipeline.physics.pupil import defocused_psf

LEVELS = 1024
"""Grey levels of the simulated camera."""


def benchmark_psf() -> NDArray[np.float64]:
    """Return the benchmark's PSF (17 x 17, y x): NA 0.8 at 0.6 um in water, 3.045 um out of focus, 0.406 um pixels."""
    return defocused_psf(17, 0.406, 0.6, 0.8, 1.33, 3.045)


def degrade(truth: NDArray[np.floating], psf: NDArray[np.floating], seed: int = 0) -> NDArray[np.uint16]:
    """Blur, add noise, count.

    Parameters
    ----------
    truth
        Plane (y x) in [0, 1].
    seed
        Of numpy's legacy generator; the published images use 0.

    Returns
    -------
    counts
        uint16 in 0 ... 1024. Noise has the variance 0.001 b + 0.01 for the blurred value b, one pixel in a
        hundred is replaced by a uniformly random value, and what leaves the range is clipped.
    """
    random = np.random.RandomState(seed)
    blurred = convolve(truth.astype(np.float32), psf.astype(np.float32), mode="same")
    normal = random.normal(size=blurred.shape)
    impulses = random.uniform(size=blurred.shape) < 0.01
    noisy = blurred + np.sqrt(0.001 * np.maximum(blurred, 0) + 0.1**2) * normal
    noisy[impulses] = random.uniform(size=blurred.shape)[impulses]
    return np.clip(np.round(LEVELS * noisy), 0, LEVELS).astype(np.uint16)
