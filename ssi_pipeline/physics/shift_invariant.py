"""Implement the forward model of a shift-invariant PSF: a convolution, then the sensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.physics.convolution import Convolution
from ssi_pipeline.physics.forward import ForwardModel, Symmetry
from ssi_pipeline.physics.psf import psf_digest
from ssi_pipeline.physics.sensor import CensoredSensor

_SAME = 1e-3
"""Tolerance of symmetry, as a share of the PSF's peak: smaller differences are due to sampling or noise."""


class ShiftInvariantModel(ForwardModel):
    """The forward model g(x) = mu(h * x).

    Parameters
    ----------
    psf
        h: float32, axes (z) y x, odd sizes, sum 1; one pixel for no blur.
    sensor
        mu, noise and limits in the units of the estimate.
    device
        Torch device.
    """

    def __init__(self, psf: NDArray[np.float32], sensor: CensoredSensor, device: str = "cpu") -> None:
        self._convolution = Convolution(psf, device)
        self.radius = self._convolution.radius
        self.sensor = sensor
        self.symmetries = _symmetries(torch.from_numpy(np.array(psf)))
        self.approximate_psf = psf
        self.digest = psf_digest(psf)

    def level(self, estimate: Tensor) -> Tensor:
        """Return the blurred estimate h * x."""
        return self._convolution(estimate)

    def adjoint(self, image: Tensor) -> Tensor:
        """Return the full correlation with h."""
        return self._convolution.adjoint(image)

    def at(self, origins: Sequence[Ints]) -> ForwardModel:  # noqa: ARG002
        """Return the model itself, which is the same everywhere."""
        return self

    def power_bound(self, size: Ints) -> Tensor:
        """Return |H|^2: the valid pixels are a subset of those of the circular convolution."""
        return self._convolution.power(size)

    def filtered_adjoint(self, image: Tensor, force: Tensor, response: Tensor, size: Ints) -> tuple[Tensor, Tensor]:
        """Return c = F^-1 response F (adjoint(image) + force) and h * c, in four FFTs."""
        return self._convolution.filtered_adjoint(image, force, response, size)


def _symmetries(psf: Tensor) -> list[Symmetry]:
    """Return the flips and the transposition of y and x under which a PSF (z) y x is symmetric."""
    tolerance = _SAME * float(psf.max())
    found: list[Symmetry] = []
    for axis in range(-psf.ndim, 0):
        if float((psf.flip(axis) - psf).abs().max()) <= tolerance:
            found.append(lambda image, axis=axis: image.flip(axis))  # type: ignore[misc]
    square = psf.shape[-1] == psf.shape[-2]
    if square and float((psf.mT - psf).abs().max()) <= tolerance:
        found.append(lambda image: image.mT)
    return found
