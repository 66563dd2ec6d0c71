"""Optical transfer function of a PSF, its cut-off, and widths between the voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.physics.widths import fwhm, profile_through_peak

PASSED = 0.01
"""Level of the transfer function, as a share of that at frequency 0, below which noise hides what is left."""

_LEAST_SIDE = 128
"""Least size of the transform: its frequencies are closer than a curve on the screen can show."""

_LEAST_WINDOWED = 9
_TAPER = 0.5
"""A PSF that ends at the border of its box would have ripples of a few percent at all frequencies: half of the box is
tapered, as by Tukey's window."""

_FINE = 20
"""Points per voxel in the spline between voxels."""


@dataclass(frozen=True)
class Transfer:
    """Modulus of the transfer function (z y x, frequency 0 in the middle, 1 there) and the frequencies by axis.

    ``frequencies``: in cycles per micrometre, or per pixel where the voxel size is unknown.
    """

    modulus: NDArray[np.float64]
    frequencies: tuple[NDArray[np.float64], ...]

    def profile(self, axis: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return frequencies from 0 along an axis, and the largest modulus at any frequency along the others.

        Of a widefield PSF nothing is passed along z alone, the missing cone: at lateral frequencies it is.
        """
        others = tuple(i for i in range(self.modulus.ndim) if i != axis)
        half = self.modulus.shape[axis] // 2
        return self.frequencies[axis][half:], self.modulus.max(axis=others)[half:]

    def cutoff(self, axis: int) -> float:
        """Return the highest frequency along an axis that is passed by more than 1 %."""
        frequencies, level = self.profile(axis)
        return float(frequencies[np.nonzero(level >= PASSED)[0][-1]])


def transfer_of(values: NDArray[np.floating], voxel_um: tuple[float, ...] | None) -> Transfer:
    """Return the transfer function of a PSF (z y x, odd sizes)."""
    from scipy.signal.windows import tukey

    tapered = values.astype(np.float64)
    for axis, n in enumerate(values.shape):
        if n >= _LEAST_WINDOWED:
            tapered *= tukey(n, _TAPER).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    shape = [1 if n == 1 else max(n, _LEAST_SIDE) | 1 for n in values.shape]
    modulus = np.abs(np.fft.fftshift(np.fft.fftn(tapered, shape, axes=range(values.ndim))))
    steps = voxel_um or (1.0,) * values.ndim
    frequencies = tuple(np.fft.fftshift(np.fft.fftfreq(n, step)) for n, step in zip(shape, steps, strict=True))
    return Transfer(modulus / modulus.max(), frequencies)


def fine_widths(values: NDArray[np.floating]) -> tuple[float, ...]:
    """Return the full widths at half maximum along the axes, pixels, with a cubic spline between the voxels."""
    return tuple(_fine_fwhm(profile_through_peak(values, axis)) for axis in range(values.ndim))


def _fine_fwhm(profile: NDArray[np.float64]) -> float:
    from scipy.interpolate import CubicSpline

    if profile.size == 1:
        return 1.0
    padded = np.pad(profile, 2)
    points = np.linspace(0, padded.size - 1, (padded.size - 1) * _FINE + 1)
    return fwhm(CubicSpline(np.arange(padded.size), padded)(points)) / _FINE
