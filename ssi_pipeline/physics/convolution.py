"""Convolve images with a kernel by FFT.

Only "valid" pixels are computed, those whose whole kernel lies inside the array, so that no padding is needed: an axis
of n pixels gives n - 2 r, with r the radius of the kernel.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.physics.fft_size import fast_size


class Convolution:
    """Valid convolution (not correlation) over the last axes.

    Parameters
    ----------
    kernel
        Axes (z) y x, odd sizes; the central pixel is the origin.
    device
        Torch device of the transfer function, which is computed once per shape.

    Raises
    ------
    ValueError
        A size of the kernel is even.
    """

    def __init__(self, kernel: NDArray[np.floating], device: str = "cpu") -> None:
        if any(n % 2 == 0 for n in kernel.shape):
            raise ValueError(f"expected a kernel with odd sizes, found {kernel.shape}")
        self.radius = tuple(n // 2 for n in kernel.shape)
        self._axes = tuple(range(-kernel.ndim, 0))
        self._kernel = torch.from_numpy(np.array(kernel, dtype=np.float64)).to(device)
        self._transfer: dict[Ints, Tensor] = {}

    def __call__(self, image: Tensor) -> Tensor:
        """Convolve an image (float32, the kernel's axes last): n pixels to n - 2 r along each axis."""
        if not any(self.radius):
            return image * self._kernel.to(image.dtype).reshape(())
        shape = self._spatial(image)
        # a circular convolution of n points wraps around into the 2 r points that are cut off
        size = fast_size(shape)
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
        size = fast_size(shape)
        full = torch.fft.irfftn(self._adjoint_spectrum(image, size), s=size, dim=self._axes)
        whole: Tensor = full[(..., *(slice(0, n) for n in shape))]
        return whole

    def power(self, size: Ints) -> Tensor:
        """Return |H|^2 of the circular convolution on a grid of ``size``, in the order of ``rfftn``, float64."""
        power: Tensor = torch.fft.rfftn(self._kernel, s=size).abs().square()
        return power

    def filtered_adjoint(self, image: Tensor, force: Tensor, response: Tensor, size: Ints) -> tuple[Tensor, Tensor]:
        """Filter adjoint(image) + force on a grid; return the result and its convolution, in four FFTs.

        Parameters
        ----------
        image
            On the valid pixels, (z) y x.
        force
            On all pixels, (z) y x.
        response
            Transfer function of the filter, in the order of ``rfftn`` on a grid of ``size``.
        size
            Size of the grid, at least that of ``force``.
        """
        change = (self._adjoint_spectrum(image, size) + torch.fft.rfftn(force, s=size)) * response
        level = torch.fft.irfftn(change * self._transfer_function(size), s=size)
        inside = tuple(slice(0, n) for n in force.shape)
        return torch.fft.irfftn(change, s=size)[inside], level[self._valid(force.shape)]

    def _spatial(self, image: Tensor) -> Ints:
        return tuple(image.shape[axis] for axis in self._axes)

    def _valid(self, shape: Ints) -> tuple[slice, ...]:
        """Return the slices of the valid pixels in the circular convolution of an image of ``shape``."""
        return tuple(slice(2 * r, n) for r, n in zip(self.radius, shape, strict=True))

    def _adjoint_spectrum(self, image: Tensor, size: Ints) -> Tensor:
        ends = zip(self.radius, self._spatial(image), size, strict=True)
        # place the pixels where ``_valid`` cuts them out; torch orders margins from the last axis
        margins = [m for r, n, s in reversed(list(ends)) for m in (2 * r, s - n - 2 * r)]
        placed = functional.pad(image, margins)
        spectrum: Tensor = torch.fft.rfftn(placed, dim=self._axes) * self._transfer_function(size).conj()
        return spectrum

    def _transfer_function(self, size: Ints) -> Tensor:
        """Return H of the kernel with its first pixel as origin, which shifts the result by the radius."""
        if size not in self._transfer:
            spectrum = torch.fft.rfftn(self._kernel, s=size)
            self._transfer[size] = spectrum.to(torch.complex64)
        return self._transfer[size]
