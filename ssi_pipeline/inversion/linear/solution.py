"""Compute the linear solution for any weight of the prior: by a Wiener filter, or for narrow images by iterations."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ssi_pipeline.inversion.linear.border import beside_border
from ssi_pipeline.inversion.linear.narrow import is_narrow, solve_narrow
from ssi_pipeline.inversion.linear.wiener import LinearFilter, filter_radius, wiener_kernel
from ssi_pipeline.inversion.sensor.correlation import NoiseCorrelation
from ssi_pipeline.physics.forward import ForwardModel

_KEPT_FILTERS = 2
"""Filters cached per PSF: that of the channel's weight, and that of the current tile or tuning step."""


class LinearSolution:
    """The linear solution with one weight of the prior."""

    def __init__(
        self,
        forward: ForwardModel,
        psf: NDArray[np.float32],
        weight: float,
        device: str,
        correlation: NoiseCorrelation | None = None,
    ) -> None:
        self._forward, self._weight = forward, weight
        self._filter = LinearFilter(wiener_kernel(psf, weight, filter_radius(psf), correlation), device)

    def __call__(self, image: Tensor, known: Tensor | None = None, border: bool = False) -> Tensor:
        """Return the solution (z) y x, normalised.

        Parameters
        ----------
        image
            Impulses repaired, bias of clipping corrected, surroundings filled; normalised.
        known
            False at pixels without a measurement, None without any. Iterations ignore their values, the filter does
            not.
        border
            Estimate the light outside too, in place of that of a mirror image: tiles of the result are then not
            exactly those of a whole plane.
        """
        if known is None or not is_narrow(known, self._forward.radius):
            found = self._filter(image)
            return (
                found
                if known is None or not border
                else beside_border(self._forward, image, known, self._weight, found)
            )
        return solve_narrow(self._forward, image, known, self._weight)


class LinearSolutions:
    """The linear solutions of one forward model by weight, with a cache of the latest filters and their spectra.

    ``psf``: its shift-invariant approximation, for the filters.
    """

    def __init__(
        self,
        forward: ForwardModel,
        psf: NDArray[np.float32],
        device: str = "cpu",
        correlation: NoiseCorrelation | None = None,
    ) -> None:
        # thread-safe: concurrent calls may both compute the filter, with equal results
        self._of = lru_cache(maxsize=_KEPT_FILTERS)(
            lambda weight: LinearSolution(forward, psf, weight, device, correlation)
        )

    def __call__(self, weight: float) -> LinearSolution:
        """Return the solution with this weight of the prior."""
        return self._of(weight)
