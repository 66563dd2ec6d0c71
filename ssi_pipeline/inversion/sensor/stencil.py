"""Choose the differences of pixels whose spread is that of the noise, whether white or correlated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.inversion.sensor.correlation import NoiseCorrelation

_KEPT = 0.5
"""Least variance of second differences relative to that for white noise: below it an error of rho is amplified."""

_FARTHEST = 5
"""Largest stride: farther apart, structure dominates the differences."""

_SECOND = (1, -2, 1)


@dataclass(frozen=True, slots=True)
class Stencil:
    """Differences between pixels ``stride`` apart: neighbours that share their noise would cancel it.

    Attributes
    ----------
    stride
        Distance of the pixels along y and x.
    correlation
        Correlation of the noise; None where it is white.
    """

    stride: int = 1
    correlation: NoiseCorrelation | None = None

    @classmethod
    def of(cls, correlation: NoiseCorrelation | None) -> Stencil:
        """Return neighbours for white noise, otherwise the least stride whose differences keep half of the variance."""
        if correlation is None:
            return cls()
        every = [cls(stride, correlation) for stride in range(1, _FARTHEST + 1)]
        kept = [(one.plane_norm / 6) ** 2 for one in every]
        return next((one for one, share in zip(every, kept, strict=True) if share > _KEPT), every[int(np.argmax(kept))])

    @property
    def plane_norm(self) -> float:
        """Return the standard deviation of second differences along y and x for noise of unit variance."""
        line = self._line(_SECOND)
        return self._norm(np.outer(line, line)[None])

    def line_norm(self, weights: Sequence[int], axis: int) -> float:
        """Return the standard deviation of differences along an axis (z y x) for noise of unit variance."""
        line = self._line(weights)
        return self._norm(line.reshape([-1 if a == axis else 1 for a in range(3)]))

    def _line(self, weights: Sequence[int]) -> NDArray[np.float64]:
        line = np.zeros(self.stride * (len(weights) - 1) + 1)
        line[:: self.stride] = weights
        return line

    def _norm(self, weights: NDArray[np.float64]) -> float:
        if self.correlation is None:
            return math.sqrt(float(np.sum(weights**2)))
        return math.sqrt(max(self.correlation.variance_of(weights), 1e-6))
