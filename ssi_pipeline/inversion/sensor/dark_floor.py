"""Bound the dark level from below, and alpha from above, by the fitted noise.

Photon noise has the variance alpha (z - dark) + sigma^2, which vanishes at z0 = dark - sigma^2 / alpha, whatever level
the fit took for ``dark``. There is no light below the level of zero photons, which read noise leaves above z0. Only the
ratio of sigma^2 and alpha matters, so that noise which is correlated, or scaled, gives the same level.
"""

from __future__ import annotations

import math

import numpy as np

from ssi_pipeline.inversion.sensor.noise_fit import Covariance
from ssi_pipeline.physics.sensor import CensoredSensor

_ERRORS = 3.0
"""Standard errors of z0 that are subtracted."""

_SELECTION = 0.25
"""Standard deviations of the noise that are subtracted: means of the darkest bin are low by chance. Measured on scenes
of 0.2 photons: z0 - 3 errors was above the dark level by up to 0.2."""

_ALPHA_ERRORS = 2.0
"""Standard errors of alpha that are added."""


def dark_floor(noise: CensoredSensor, covariance: Covariance) -> float | None:
    """Return a lower bound of the dark level, in the units of the noise; None where alpha is not known.

    Parameters
    ----------
    noise
        Fitted noise.
    covariance
        Of (alpha, sigma^2).
    """
    if not noise.alpha > 0 or not np.isfinite(covariance).all():
        return None
    variance = noise.sigma**2
    slope = np.array([variance / noise.alpha**2, -1 / noise.alpha])
    error = math.sqrt(max(float(slope @ covariance @ slope), 0.0))
    if noise.alpha < _ERRORS * math.sqrt(covariance[0, 0]):  # the linear error of a ratio whose denominator may be 0
        return None
    return noise.dark - variance / noise.alpha - _ERRORS * error - _SELECTION * noise.sigma


def most_alpha(noise: CensoredSensor, covariance: Covariance) -> float | None:
    """Return the largest alpha that the data allow, in the units of the noise; None where it is not known."""
    error = math.sqrt(max(float(covariance[0, 0]), 0.0))
    return noise.alpha + _ALPHA_ERRORS * error if math.isfinite(error) else None
