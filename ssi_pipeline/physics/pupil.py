"""The PSF of a widefield microscope out of focus, from a scalar integral over the pupil.

This is the model of Gibson and Lanni (J. Opt. Soc. Am. A 9, 154, 1992) where immersion, cover glass and
sample are those that the objective was designed for, so that defocus is the only aberration.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import j0

_PUPIL_RINGS = 2000
"""Midpoints of the integral over the pupil's radius; at 3 um of defocus 500 give the same to 1e-6."""


def defocused_psf(
    size: int, pixel_um: float, wavelength_um: float, numerical_aperture: float, index: float, defocus_um: float
) -> NDArray[np.float64]:
    """Return the PSF at one distance from the focal plane.

    Parameters
    ----------
    size
        Odd number of pixels along y and x.
    index
        Refractive index of the immersion medium and the sample.
    defocus_um
        Distance from the focal plane; the sign does not matter.

    Returns
    -------
    psf
        float64, axes y x, sum 1: the intensity at the pixels' centres.
    """
    centre = (size - 1) / 2
    y, x = np.mgrid[:size, :size] - centre
    radius = np.hypot(y, x) * pixel_um
    rho = (np.arange(_PUPIL_RINGS) + 0.5) / _PUPIL_RINGS
    k = 2 * np.pi / wavelength_um
    phase = k * index * defocus_um * np.sqrt(1 - (numerical_aperture * rho / index) ** 2)
    distinct, where = np.unique(radius, return_inverse=True)
    waves = j0(k * numerical_aperture * distinct[:, None] * rho) * np.exp(1j * phase) * rho
    intensity = np.abs(waves.sum(axis=1)) ** 2
    psf = intensity[where].reshape(size, size)
    return np.asarray(psf / psf.sum())
