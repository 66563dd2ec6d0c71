"""Compute Wiener filters with a Laplacian prior, truncated to a finite kernel.

With a finite kernel the tiled result equals that on the whole volume, and the halo is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor

from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.geometry.halo import wiener_radius
from ssi_pipeline.inversion.sensor.correlation import NoiseCorrelation
from ssi_pipeline.physics.convolution import Convolution

_TAPER = 1 / 3
"""Outer share of the kernel's radius over which it is tapered to zero."""

_SMALLEST_GRID = 64
"""Smallest size of the grid on which kernels are computed."""


class LinearFilter:
    """A convolution of the image's shape, with reflection at the borders."""

    def __init__(self, kernel: NDArray[np.float64], device: str = "cpu") -> None:
        self._convolution = Convolution(kernel, device)

    def __call__(self, image: Tensor) -> Tensor:
        """Filter an image (z) y x; shape and units are kept."""
        return self._convolution(reflect_pad(image, self._convolution.radius))


def wiener_kernel(
    psf: NDArray[np.floating], weight: float, radius: Ints, correlation: NoiseCorrelation | None = None
) -> NDArray[np.float64]:
    """Return the Wiener kernel, that of conj(H) / (|H|^2 + weight N |L|^2), tapered, sum 1.

    N is the spectrum of the noise, 1 where it is white.

    Parameters
    ----------
    psf
        Axes (z) y x, odd sizes, sum 1.
    weight
        Weight of the prior ||L x||^2, L the discrete Laplacian (Hunt 1973, constrained least squares).
    radius
        Radius of the kernel in pixels along each axis of ``psf``.
    correlation
        Correlation of the noise between pixels; None where it is white.

    Returns
    -------
    kernel
        float64, 2 radius + 1 pixels along each axis.
    """
    shape = tuple(
        fft.next_fast_len(max(_SMALLEST_GRID, 4 * max(r, n)) + 1) if r or n > 1 else 1
        for r, n in zip(radius, psf.shape, strict=True)
    )
    transfer = fft.rfftn(_centred(psf, shape))
    prior = weight * laplacian(shape) ** 2
    if correlation is not None:
        prior = prior * correlation.spectrum(shape)[..., : shape[-1] // 2 + 1]
    response = np.conj(transfer) / (np.abs(transfer) ** 2 + prior)
    kernel = np.fft.fftshift(fft.irfftn(response, s=shape))
    middle = tuple(slice(n // 2 - r, n // 2 + r + 1) for n, r in zip(shape, radius, strict=True))
    kernel = kernel[middle] * _taper(radius)
    result: NDArray[np.float64] = kernel / kernel.sum()
    return result


def filter_radius(psf: NDArray[np.floating]) -> tuple[int, ...]:
    """Return the radius in pixels of the Wiener kernel along the axes of a PSF (z) y x."""
    radius = tuple(n // 2 for n in psf.shape)
    return wiener_radius((0,) * (3 - len(radius)) + radius)[-len(radius) :]


def reflect_pad(image: Tensor, radius: Ints) -> Tensor:
    """Pad the last axes of an image by reflection; the radius may exceed the image."""
    first = image.ndim - len(radius)
    for axis, r in enumerate(radius, start=first):
        if r:
            image = image.index_select(axis, _reflected(image.shape[axis], r, image.device))
    return image


@lru_cache(maxsize=64)
def _reflected(n: int, radius: int, device: torch.device) -> Tensor:
    """Return the index of the pixel for each pixel of an axis of n that is padded by reflection, on a device."""
    return torch.from_numpy(np.pad(np.arange(n), radius, mode="reflect")).to(device)


def _centred(psf: NDArray[np.floating], shape: Ints) -> NDArray[np.float64]:
    grid = np.zeros(shape)
    grid[tuple(slice(0, n) for n in psf.shape)] = psf
    return np.roll(grid, [-(n // 2) for n in psf.shape], axis=tuple(range(psf.ndim)))


def laplacian(shape: Ints, scales: Sequence[float] | None = None) -> NDArray[np.float64]:
    """Return the transfer function of the negative discrete Laplacian L on a grid, in the order of ``rfftn``.

    ``scales``: factors of the differences along the axes; None: 1.
    """
    total: NDArray[np.float64] = np.zeros((1,) * len(shape))
    for axis, (n, scale) in enumerate(zip(shape, scales or (1.0,) * len(shape), strict=True)):
        frequency = fft.rfftfreq(n) if axis == len(shape) - 1 else fft.fftfreq(n)
        along = scale**2 * (2 - 2 * np.cos(2 * np.pi * frequency))
        total = total + along.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return total


def _taper(radius: Ints) -> NDArray[np.float64]:
    window: NDArray[np.float64] = np.ones((1,) * len(radius))
    for axis, r in enumerate(radius):
        # 1 inside; outside a raised cosine that reaches 0 one pixel beyond the kernel
        outer = np.clip((np.abs(np.arange(-r, r + 1)) / (r + 1) - (1 - _TAPER)) / _TAPER, 0, 1)
        along = 0.5 + 0.5 * np.cos(np.pi * outer)
        window = window * along.reshape([-1 if i == axis else 1 for i in range(len(radius))])
    return window
