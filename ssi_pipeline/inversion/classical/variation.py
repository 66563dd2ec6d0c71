"""Measure the variation along a line, and invert the Hessian of the objective approximately, by an FFT."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.inversion.bounded import dot
from ssi_pipeline.inversion.classical.roughness import CURVED
from ssi_pipeline.inversion.linear.wiener import laplacian
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.physics.fft_size import fast_size

_LEAST = 1e-14
"""Least squared length: a sum that cancels in float32 could be negative."""


class Line:
    """The majorants of the sum of sqrt(|R x|^2 + s^2) along x + t d: steps need sums over pixels, and no differences.

    Parameters
    ----------
    squares
        |R x|^2 + s^2, (z) y x.
    cross, change
        <R x, R d> and |R d|^2, (z) y x.
    """

    def __init__(self, squares: Tensor, cross: Tensor, change: Tensor) -> None:
        self._squares, self._cross, self._change = squares, cross, change

    def slope_and_curvature(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivative by t at t, and the curvature of the majorant there."""
        steeper = self._cross + t * self._change
        inverse = (self._squares + t * (self._cross + steeper)).clamp(min=_LEAST).rsqrt()
        return dot(steeper, inverse), dot(self._change, inverse)


def preconditioner(problem: Problem, weight: float, shape: Ints) -> Callable[[Tensor], Callable[[Tensor], Tensor]]:
    """Return a function of |R x|^2 + s^2 which returns the approximate inverse of the Hessian there.

    It is that of P + weight c R*R, P the bound of B*B, R*R = L + (l L)^2 with the negative Laplacian L and l of
    ``CURVED``, all circular, and c the mean of the inverse lengths; an FFT inverts it.
    """
    forward = problem.forward
    size = fast_size(shape, forward.radius)
    bound = forward.power_bound(size).float()
    eigenvalues = laplacian(size, problem.scales)
    power = torch.from_numpy(eigenvalues + (CURVED[len(size)] * eigenvalues) ** 2).to(bound.device).float()
    inside = tuple(slice(0, n) for n in shape)

    def at(squares: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the preconditioner at slopes of these squared lengths, (z) y x."""
        response = bound + (weight * squares.rsqrt().mean()) * power

        def inverse(gradient: Tensor) -> Tensor:
            """Return the preconditioned gradient, (z) y x."""
            filtered: Tensor = torch.fft.irfftn(torch.fft.rfftn(gradient, s=size) / response, s=size)[inside]
            return filtered

        return inverse

    return at
