"""Measure total variation along a line, and invert the Hessian of its objective approximately, by an FFT."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.inversion.bounded import dot
from ssi_pipeline.inversion.linear.wiener import laplacian
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.physics.fft_size import fast_size

_LEAST = 1e-14
"""Least squared length: a sum that cancels in float32 could be negative."""


class Line:
    """The majorants of the sum of sqrt(|D x|^2 + s^2) along x + t d: steps need sums over pixels, and no differences.

    Parameters
    ----------
    squares
        |D x|^2 + s^2, (z) y x.
    slopes, change
        D x and D d, one component per axis first.
    """

    def __init__(self, squares: Tensor, slopes: Tensor, change: Tensor) -> None:
        self._squares, self._cross, self._change = squares, (slopes * change).sum(0), change.square().sum(0)

    def slope_and_curvature(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivative by t at t, and the curvature of the majorant there."""
        steeper = self._cross + t * self._change
        inverse = (self._squares + t * (self._cross + steeper)).clamp(min=_LEAST).rsqrt()
        return dot(steeper, inverse), dot(self._change, inverse)


def preconditioner(problem: Problem, weight: float, shape: Ints) -> Callable[[Tensor], Callable[[Tensor], Tensor]]:
    """Return a function of |D x|^2 + s^2 which returns the approximate inverse of the Hessian there.

    It is that of P + weight c L, P the bound of B*B and L the negative Laplacian D*D, both circular, and c the mean of
    the inverse lengths; an FFT inverts it.
    """
    forward = problem.forward
    size = fast_size(shape, forward.radius)
    bound = forward.power_bound(size).float()
    negative = torch.from_numpy(laplacian(size, problem.scales)).to(bound.device).float()
    inside = tuple(slice(0, n) for n in shape)

    def at(squares: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the preconditioner at slopes of these squared lengths, (z) y x."""
        response = bound + (weight * squares.rsqrt().mean()) * negative

        def inverse(gradient: Tensor) -> Tensor:
            """Return the preconditioned gradient, (z) y x."""
            filtered: Tensor = torch.fft.irfftn(torch.fft.rfftn(gradient, s=size) / response, s=size)[inside]
            return filtered

        return inverse

    return at
