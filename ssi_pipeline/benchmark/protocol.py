"""Degradation protocol of the published benchmark (Kobayashi et al., arXiv 2006.06156, and its code)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import convolve

from ssi_pipeline.config import GibsonLanniPsf
from ssi_pipeline.physics.gibson_lanni import gibson_lanni_intensity

LEVELS = 1024
"""Grey levels of the simulated camera."""

PIXEL_UM = 0.406
_SIZE = 17

MICROSCOPE = GibsonLanniPsf(
    kind="gibson_lanni",
    numerical_aperture=0.8,
    wavelength_um=0.6,
    support_um={},
    magnification=16,
    sample_index=1.33,
    immersion_index=1.33,
    working_distance_um=3000,
    defocus_um=-(_SIZE - 2) * PIXEL_UM / 2,
)
"""A water objective, out of focus."""


def benchmark_psf() -> NDArray[np.float64]:
    """Return the benchmark's PSF (17 x 17, y x, sum 1): a water objective, 3.045 um out of focus (ring-shaped).

    The published code samples the profile of Gibson and Lanni's model at every half pixel from the axis and
    interpolates linearly, which changes values by up to 3 % of the peak; so does this function.
    """
    y, x = np.mgrid[:_SIZE, :_SIZE] - (_SIZE - 1) / 2
    radius = np.hypot(y, x) * PIXEL_UM
    positions = np.arange(0, radius.max() + PIXEL_UM, PIXEL_UM / 2)
    psf = np.interp(radius, positions, gibson_lanni_intensity(MICROSCOPE, positions, 0.0))
    return np.asarray(psf / psf.sum())


def blur(truth: NDArray[np.floating], psf: NDArray[np.floating]) -> NDArray[np.float32]:
    """Convolve a plane (y x) with the PSF, padded with zeros."""
    return np.asarray(convolve(truth.astype(np.float32), psf.astype(np.float32), mode="same"), np.float32)


def degrade(truth: NDArray[np.floating], psf: NDArray[np.floating], seed: int = 0) -> NDArray[np.uint16]:
    """Blur, add noise, and quantise to counts.

    Parameters
    ----------
    truth
        Plane (y x) in [0, 1].
    seed
        Seed of numpy's legacy generator; the published images use 0.

    Returns
    -------
    counts
        uint16 in 0 ... 1024. Noise has the variance 0.001 b + 0.01 for the blurred value b, 1 % of the
        pixels are replaced by uniformly random values, and values outside the range are clipped.
    """
    random = np.random.RandomState(seed)
    blurred = blur(truth, psf)
    normal = random.normal(size=blurred.shape)
    impulses = random.uniform(size=blurred.shape) < 0.01
    noisy = blurred + np.sqrt(0.001 * np.maximum(blurred, 0) + 0.1**2) * normal
    noisy[impulses] = random.uniform(size=blurred.shape)[impulses]
    return np.clip(np.round(LEVELS * noisy), 0, LEVELS).astype(np.uint16)
