"""Define the protocol of the forward model g: the expected measurement of an estimate x.

    g(x) = mu(B x)      B: the optics, linear. mu: the expected value of the sensor's report of a level.

Masks, networks, solvers and metrics depend on the optics through this protocol alone. A PSF that varies over the field
or with depth is another implementation of it. Intensities are in a channel's normalised units; the last axes of images
are (z) y x.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.physics.sensor import CensoredSensor

Symmetry = Callable[[Tensor], Tensor]
"""A flip or transposition of an image's last axes, (z) y x; it is its own inverse."""


class ForwardModel(Protocol):
    """The forward model g on valid pixels. Inherit from it to get the methods with a default implementation.

    Light reaches a pixel from up to ``radius`` pixels away, so that an estimate of n pixels along an axis gives
    n - 2 radius predictions. There is no padding: a tile is cut out of a larger scene.

    Attributes
    ----------
    radius
        Largest radius of the PSF in pixels, (z) y x: the prediction is smaller by it at each end.
    sensor
        Mean, standard deviation, variance and limits of the sensor's report of a level B x.
    symmetries
        Flips and transpositions s with B(s(x)) = s(B(x)) for every x; none along an axis on which the PSF depends.
    approximate_psf
        Shift-invariant approximation of B: float32, axes (z) y x, odd sizes, sum 1. For linear starts, the tests for
        signal and impulses, widths, and the check of a given model; predictions, data terms and losses never use it.
    digest
        Digest of B, 16 hexadecimal digits.
    """

    radius: Ints
    sensor: CensoredSensor
    symmetries: Sequence[Symmetry]
    approximate_psf: NDArray[np.float32]
    digest: str

    def level(self, estimate: Tensor) -> Tensor:
        """Return B x, the expected level before the sensor.

        Parameters
        ----------
        estimate
            Any leading axes, then (z) y x with n pixels along each axis; float32.

        Returns
        -------
        level
            The same leading axes, then n - 2 radius pixels along each axis; differentiable.
        """
        ...

    def adjoint(self, image: Tensor) -> Tensor:
        """Return B* y, n to n + 2 radius pixels along each axis: <B x, y> = <x, B* y> for all x and y."""
        ...

    def at(self, origins: Sequence[Ints]) -> ForwardModel:
        """Return the forward model of a batch of windows, for estimates b (z) y x.

        Parameters
        ----------
        origins
            First pixel of each of the b windows, (z) y x, relative to the first pixel of this model.
        """
        ...

    def power_bound(self, size: Ints) -> Tensor:
        """Return the spectrum of a circular upper bound of B* B, for preconditioners.

        Parameters
        ----------
        size
            Size (z) y x of a grid that holds the estimate.

        Returns
        -------
        bound
            p, float64, in the order of ``rfftn`` on the grid: |B x|^2 <= <x, F^-1 p F x> for every x.
        """
        ...

    def __call__(self, estimate: Tensor) -> Tensor:
        """Predict the measurement g(x): n pixels to n - 2 radius along (z) y x, any leading axes."""
        return self.sensor(self.level(estimate))

    @property
    def axes(self) -> int:
        """Number of spatial axes."""
        return len(self.radius)

    def crop(self, image: Tensor) -> Tensor:
        """Crop an array on the pixels of the estimate to the predicted pixels; returns a view."""
        for axis, r in enumerate(self.radius, start=-self.axes):
            image = image.narrow(axis, r, image.shape[axis] - 2 * r)
        return image

    def filtered_adjoint(self, image: Tensor, force: Tensor, response: Tensor, size: Ints) -> tuple[Tensor, Tensor]:
        """Return c = F^-1 response F (B* image + force) and its level B c.

        This is the inner step of preconditioned solvers. Override it where B allows it in fewer FFTs.

        Parameters
        ----------
        image
            On the predicted pixels, (z) y x.
        force
            On the pixels of the estimate, (z) y x.
        response
            Transfer function of a circular filter, in the order of ``rfftn`` on a grid of ``size``.
        size
            Size of the grid, at least that of ``force``.
        """
        spectrum = torch.fft.rfftn(self.adjoint(image) + force, s=size) * response
        change = torch.fft.irfftn(spectrum, s=size)[tuple(slice(0, n) for n in force.shape)]
        return change, self.level(change)
