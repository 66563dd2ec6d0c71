"""Compute what conjugate gradients penalise: the slopes of an image, and the differences of slopes as well."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssi_pipeline.inversion.classical.slopes import Slopes
from ssi_pipeline.inversion.differences import add_adjoint, difference

CURVED = {2: 0.5, 3: 1.0}
"""Length at which the Hessian counts beside slopes by number of axes, in sides of the smallest voxel; 0 is total
variation. Chosen on tuning scenes (docs/classical.md): a larger one gains on thin structures, loses on flat ones."""


class Roughness:
    """The operator R: D x, and beside it a length times the Hessian D D x, both by voxel size.

    Total variation alone turns slopes into steps, and thin structures into flat ones, where the PSF hides the
    difference; the Hessian prevents that (Lefkimmiatis et al. 2012; measured: docs/classical.md). Components are
    computed one by one: the nine of a volume at once would take more memory than all else of an iteration.

    Parameters
    ----------
    slopes
        The operator D.
    """

    def __init__(self, slopes: Slopes) -> None:
        self._scales, self._cuts, self._length = slopes.scales, slopes.cuts, CURVED[len(slopes.scales)]

    def squares(self, x: Tensor) -> Tensor:
        """Return |R x|^2, (z) y x."""
        total = torch.zeros_like(x)
        for axis in range(x.ndim):
            slope = self._slope(x, axis)
            for other in self._after(axis):
                total += self._curvature(slope, axis, other).square_()
            total += slope.square_()
        return total

    def pull(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return R* (weights R x), (z) y x: half the gradient of the sum of weights |R x|^2."""
        total = torch.zeros_like(x)
        for axis in range(x.ndim):
            slope = self._slope(x, axis)
            weighted = slope * weights
            for other in self._after(axis):
                bend = self._curvature(slope, axis, other).mul_(weights)
                add_adjoint(bend, other, weighted, self._factor(axis, other))
            add_adjoint(weighted, axis, total, self._scales[axis])
        return total

    def along(self, x: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        """Return <R x, R change> and |R change|^2, both (z) y x."""
        cross, square = torch.zeros_like(x), torch.zeros_like(x)
        for axis in range(x.ndim):
            here, there = self._slope(x, axis), self._slope(change, axis)
            for other in self._after(axis):
                bend = self._curvature(there, axis, other)
                cross += self._curvature(here, axis, other).mul_(bend)
                square += bend.square_()
            cross += here.mul_(there)
            square += there.square_()
        return cross, square

    def _after(self, axis: int) -> range:
        """Return the axes along which slopes along ``axis`` are differentiated: the Hessian is symmetric."""
        return range(axis, len(self._scales))

    def _slope(self, x: Tensor, axis: int) -> Tensor:
        return self._difference(x, axis, self._scales[axis], 1)

    def _curvature(self, slope: Tensor, axis: int, other: int) -> Tensor:
        return self._difference(slope, other, self._factor(axis, other), 2 if axis == other else 1)

    def _difference(self, x: Tensor, axis: int, scale: float, reach: int) -> Tensor:
        """Return scaled differences along an axis, 0 across a border; ``reach``: of the component along it, pixels."""
        n, found = x.shape[axis], difference(x, axis, torch.zeros_like(x))
        for end in (n - 1, *self._cuts[axis]):
            first = max(0, end - reach + 1)
            found.narrow(axis, first, end + 1 - first).zero_()
        return found if scale == 1 else found.mul_(scale)

    def _factor(self, axis: int, other: int) -> float:
        """Return the factor of differences along ``other`` of slopes along ``axis``; two different axes count twice."""
        return self._length * self._scales[other] * (1.0 if axis == other else math.sqrt(2))
