"""The forward model g: convolution with the PSF, then the mean of what the sensor reports.

Only pixels whose whole PSF lies inside the array are predicted ("valid"), so nothing is invented at
borders: an array of n pixels along an axis gives n - 2 r, where r is the PSF's radius.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional

from ssi_pipeline.physics.sensor import CensoredSensor

__all__ = ["CensoredSensor", "Convolution", "ForwardModel"]


class Convolution:
    """Valid, true convolution (not correlation) over the last axes, through FFT.

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
        self._kernel = torch.from_numpy(np.array(kernel, dtype=np.float64)).to(device)
        self._transfer: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, image: Tensor) -> Tensor:
        """Convolve ``image`` (any leading axes, then the kernel's axes, float32)."""
        if not any(self.radius):
            return image * self._kernel.to(image.dtype).reshape(())
        axes = tuple(range(-len(self.radius), 0))
        shape = tuple(image.shape[axis] for axis in axes)
        # the wrap-around of a circular convolution of n points reaches only the 2 r points that are dropped
        size = tuple(next_fast_len(n, real=True) for n in shape)
        spectrum = torch.fft.rfftn(image, s=size, dim=axes) * self._transfer_function(size)
        full = torch.fft.irfftn(spectrum, s=size, dim=axes)
        window = tuple(slice(2 * r, n) for r, n in zip(self.radius, shape, strict=True))
        valid: Tensor = full[(..., *window)]
        return valid

    def adjoint(self, image: Tensor) -> Tensor:
        """Apply the transpose: an array of the predicted pixels to one of the estimate's, n to n + 2 r along each axis.

        <g(x), y> = <x, adjoint(y)> for all x and y: the full correlation with the kernel.
        """
        if not any(self.radius):
            return image * self._kernel.to(image.dtype).reshape(())
        axes = tuple(range(-len(self.radius), 0))
        shape = tuple(image.shape[axis] + 2 * r for axis, r in zip(axes, self.radius, strict=True))
        size = tuple(next_fast_len(n, real=True) for n in shape)
        margins = [m for r, n, s in zip(self.radius, shape, size, strict=True) for m in (2 * r, s - n)]
        # the pixels lie where ``__call__`` cuts them out; torch counts margins from the last axis
        placed = functional.pad(image, [m for i in range(len(axes), 0, -1) for m in margins[2 * i - 2 : 2 * i]])
        spectrum = torch.fft.rfftn(placed, dim=axes) * self._transfer_function(size).conj()
        full = torch.fft.irfftn(spectrum, s=size, dim=axes)
        whole: Tensor = full[(..., *(slice(0, n) for n in shape))]
        return whole

    def _transfer_function(self, size: tuple[int, ...]) -> Tensor:
        if size not in self._transfer:
            spectrum = torch.fft.rfftn(self._kernel, s=size)
            self._transfer[size] = spectrum.to(torch.complex64)
        return self._transfer[size]


class ForwardModel:
    """g: from the estimate x to the expected measurement, in one tile's normalised units."""

    def __init__(self, convolution: Convolution, sensor: CensoredSensor) -> None:
        self.convolution = convolution
        self.sensor = sensor

    @property
    def radius(self) -> tuple[int, ...]:
        """Pixels that the prediction is smaller than the estimate at each end of each axis."""
        return self.convolution.radius

    def __call__(self, estimate: Tensor) -> Tensor:
        """Predict the measurement on the pixels whose PSF fits into ``estimate`` (... (z) y x)."""
        return self.sensor(self.convolution(estimate))

    def crop(self, image: Tensor) -> Tensor:
        """Cut an array that is aligned with an estimate to the pixels that are predicted."""
        for axis, r in enumerate(self.radius, start=-len(self.radius)):
            image = image.narrow(axis, r, image.shape[axis] - 2 * r)
        return image
