"""Convolution of images with a kernel, by FFT.

Only pixels whose whole kernel lies inside the array are computed ("valid"), so nothing is invented at
borders: an array of n pixels along an axis gives n - 2 r, where r is the kernel's radius.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional

from ssi_pipeline.geometry.boxes import Ints


class Convolution:
    """Valid, true convolution (not correlation) over the last axes.

    Parameters
    ----------
    kernel
        Odd along every axis; its middle is the origin. Two or three axes, (z) y x.
    device
        Where the transfer function lives; it is computed once for each shape.
    """

    def __init__(self, kernel: NDArray[np.floating], device: str = "cpu") -> None:
        if any(n % 2 == 0 for n in kernel.shape):
            raise ValueError(f"expected a kernel with odd sizes, found {kernel.shape}")
        self.radius = tuple(n // 2 for n in kernel.shape)
        self._axes = tuple(range(-kernel.ndim, 0))
        self._kernel = torch.from_numpy(np.array(kernel, dtype=np.float64)).to(device)
        self._transfer: dict[Ints, Tensor] = {}

    def __call__(self, image: Tensor) -> Tensor:
        """Convolve ``image`` (any leading axes, then the kernel's axes, float32)."""
        if not any(self.radius):
            return image * self._kernel.to(image.dtype).reshape(())
        shape = self._spatial(image)
        # the wrap-around of a circular convolution of n points reaches only the 2 r points that are dropped
        size = _fast_size(shape)
        spectrum = torch.fft.rfftn(image, s=size, dim=self._axes) * self._transfer_function(size)
        full = torch.fft.irfftn(spectrum, s=size, dim=self._axes)
        valid: Tensor = full[(..., *self._valid(shape))]
        return valid

    def adjoint(self, image: Tensor) -> Tensor:
        """Apply the transpose, the full correlation with the kernel: n pixels to n + 2 r along each axis.

        <convolve(x), y> = <x, adjoint(y)> for all x and y.
        """
        if not any(self.radius):
            return image * self._kernel.to(image.dtype).reshape(())
        shape = tuple(n + 2 * r for n, r in zip(self._spatial(image), self.radius, strict=True))
        size = _fast_size(shape)
        full = torch.fft.irfftn(self._adjoint_spectrum(image, size), s=size, dim=self._axes)
        whole: Tensor = full[(..., *(slice(0, n) for n in shape))]
        return whole

    def power(self, size: Ints) -> Tensor:
        """Return |H|^2 of the circular convolution on a grid of ``size``, as ``rfftn`` orders it, float64."""
        power: Tensor = torch.fft.rfftn(self._kernel, s=size).abs().square()
        return power

    def filtered_adjoint(self, image: Tensor, force: Tensor, response: Tensor, size: Ints) -> tuple[Tensor, Tensor]:
        """Filter adjoint(image) + force on a grid; return the result and its convolution, in four FFTs.

        Parameters
        ----------
        image
            Shape of the convolved pixels, (z) y x.
        force
            Shape of the whole, (z) y x.
        response
            Of the filter, as ``rfftn`` of a grid of ``size`` orders it.
        size
            Of the grid, no smaller than ``force``.
        """
        change = (self._adjoint_spectrum(image, size) + torch.fft.rfftn(force, s=size)) * response
        level = torch.fft.irfftn(change * self._transfer_function(size), s=size)
        inside = tuple(slice(0, n) for n in force.shape)
        return torch.fft.irfftn(change, s=size)[inside], level[self._valid(force.shape)]

    def _spatial(self, image: Tensor) -> Ints:
        return tuple(image.shape[axis] for axis in self._axes)

    def _valid(self, shape: Ints) -> tuple[slice, ...]:
        """Where, in a circular convolution of images of ``shape``, the valid pixels lie."""
        return tuple(slice(2 * r, n) for r, n in zip(self.radius, shape, strict=True))

    def _adjoint_spectrum(self, image: Tensor, size: Ints) -> Tensor:
        ends = zip(self.radius, self._spatial(image), size, strict=True)
        # the pixels lie where ``_valid`` cuts them out; torch counts margins from the last axis
        margins = [m for r, n, s in reversed(list(ends)) for m in (2 * r, s - n - 2 * r)]
        placed = functional.pad(image, margins)
        spectrum: Tensor = torch.fft.rfftn(placed, dim=self._axes) * self._transfer_function(size).conj()
        return spectrum

    def _transfer_function(self, size: Ints) -> Tensor:
        """Return H of a kernel whose origin is its first pixel: the result is shifted by the radius."""
        if size not in self._transfer:
            spectrum = torch.fft.rfftn(self._kernel, s=size)
            self._transfer[size] = spectrum.to(torch.complex64)
        return self._transfer[size]


def _fast_size(shape: Ints) -> Ints:
    return tuple(int(next_fast_len(n, real=True)) for n in shape)
