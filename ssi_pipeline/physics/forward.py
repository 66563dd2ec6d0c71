"""The forward model g as everything above it sees it: what the microscope records, on average, of an estimate x.

    g(x) = mu(B x)      B: optics, linear. mu: the mean of what the sensor reports of a level.

Masks, networks, solvers and metrics know no more of optics than this protocol, so a PSF that varies
over the field or with depth is another implementation of it and nothing else.
Intensities are in a channel's normalised units; images have the axes (z) y x last.
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
"""Maps an image's last axes, (z) y x, to themselves; it is its own inverse."""


class ForwardModel(Protocol):
    """g on the pixels that an array determines; inherit from it to get the methods that follow from the others.

    Light reaches a pixel from up to ``radius`` pixels away. An estimate of n pixels along an axis therefore gives
    n - 2 radius predictions: data at the border of a tile are cut out of a larger scene, and padding would invent it.

    Attributes
    ----------
    radius
        Pixels along (z) y x by which the prediction is smaller at each end: the largest extent of the PSF.
    sensor
        Mean, standard deviation, variance and limits of the report of each level B x.
    symmetries
        Flips and transpositions with B(s(x)) = s(B(x)) for every x. None where the PSF varies along their axis.
    approximate_psf
        One shift-invariant PSF, float32, axes (z) y x, odd sizes, sum 1, that stands for B where an approximation will
        do: linear starts, the tests for signal and impulses, widths, the check of a given model. Exact only if the PSF
        varies nowhere. Predictions, data terms and losses never use it.
    digest
        16 hexadecimal digits that identify B.
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
        """Return the model of a batch of windows: what an estimate b (z) y x cut out at b places is recorded as.

        Parameters
        ----------
        origins
            The first pixel of each window, (z) y x, counted from the first pixel that this model describes.
        """
        ...

    def power_bound(self, size: Ints) -> Tensor:
        """Return the spectrum of a circular operator that is nowhere smaller than B* B; preconditioners need it.

        Parameters
        ----------
        size
            Of a grid (z) y x that holds the estimate.

        Returns
        -------
        bound
            p, float64, as ``rfftn`` of the grid orders it: |B x|^2 <= <x, F^-1 p F x> for every x.
        """
        ...

    def __call__(self, estimate: Tensor) -> Tensor:
        """Predict the measurement g(x), ... (z) y x, on the pixels whose light lies inside ``estimate``."""
        return self.sensor(self.level(estimate))

    @property
    def axes(self) -> int:
        """Number of spatial axes."""
        return len(self.radius)

    def crop(self, image: Tensor) -> Tensor:
        """Cut an array that is aligned with an estimate to the pixels that are predicted; a view."""
        for axis, r in enumerate(self.radius, start=-self.axes):
            image = image.narrow(axis, r, image.shape[axis] - 2 * r)
        return image

    def filtered_adjoint(self, image: Tensor, force: Tensor, response: Tensor, size: Ints) -> tuple[Tensor, Tensor]:
        """Return c = F^-1 response F (B* image + force) and its level B c.

        Preconditioned solvers repeat this. A model whose B is a product of spectra does it in fewer FFTs.

        Parameters
        ----------
        image
            On the pixels that are predicted, (z) y x.
        force
            On the pixels of the estimate, (z) y x.
        response
            Of a circular filter, as ``rfftn`` of a grid of ``size`` orders it.
        size
            Of the grid, no smaller than ``force``.
        """
        spectrum = torch.fft.rfftn(self.adjoint(image) + force, s=size) * response
        change = torch.fft.irfftn(spectrum, s=size)[tuple(slice(0, n) for n in force.shape)]
        return change, self.level(change)
