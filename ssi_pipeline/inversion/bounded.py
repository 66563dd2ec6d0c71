"""Choose the directions of conjugate gradients for a minimisation over x >= floor: two-metric projection.

Pixels that a gradient step would bring to the bound go there, and conjugate gradients (Polak and Ribiere 1969, beta >=
0) see the others: without this a few pixels beside a bright object, each about to be projected, spoil the conjugacy of
all (Bertsekas 1982). A step that leaves the feasible set is projected onto it. Without such pixels nothing of this
acts.

Scalars stay on the device, so that iterations without a bound do not wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

_TINY = 1e-30


class BoundedDirections:
    """Directions of descent from the gradients at successive estimates.

    Parameters
    ----------
    floor
        Lower bound; minus infinity without one.
    reach
        Expected length of the first gradient step.
    """

    def __init__(self, floor: float, reach: float = 1.0) -> None:
        self._floor = floor
        self._reach: Tensor | float = reach
        self._step: Tensor | float = 1.0
        self._scale: Tensor | float = 1.0
        self._last: tuple[Tensor, Tensor, Tensor] | None = None

    def after(self, x: Tensor, gradient: Tensor, precondition: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the direction at an estimate with this gradient.

        Parameters
        ----------
        x
            The estimate, (z) y x.
        gradient
            Of the objective at ``x``.
        precondition
            Approximate inverse of the objective's Hessian, symmetric and positive; it may differ from call to call.
        """
        free = x - self._floor > self._reach * gradient
        steepest = gradient * free
        scaled = steepest if precondition is None else precondition(steepest) * free
        size = dot(scaled, steepest)
        if precondition is not None:  # the gradient step as long as the preconditioned one
            self._scale = size / dot(steepest, steepest).clamp(min=_TINY)
        direction = -scaled
        if self._last is not None:
            gradient_before, before, size_before = self._last
            beta = (dot(scaled, steepest - gradient_before) / size_before.clamp(min=_TINY)).clamp(min=0)
            conjugate = (torch.where(size_before > 0, beta, 0.0) * before - scaled) * free
            direction = torch.where(dot(conjugate, steepest) < 0, conjugate, direction)  # or restart
        self._last = steepest, direction, size
        return torch.where(free, direction, (self._floor - x) / self._step)

    def projected(self, x: Tensor, gradient: Tensor, change: Tensor, step: Tensor) -> Tensor | None:
        """Return the feasible change in place of a step that leaves the feasible set; None where it does not.

        It descends, but its length may be up to 1 only: search again along it.
        """
        self._step = step.clamp(min=_TINY)
        self._reach = self._step * self._scale
        if not math.isfinite(self._floor) or not bool((x + step * change < self._floor).any()):
            return None
        kept = (x + step * change).clamp(min=self._floor) - x
        return kept if dot(kept, gradient) < 0 else (x - self._reach * gradient).clamp(min=self._floor) - x


def with_light_of(estimate: Tensor, floor: float, measured: float, predicted: float) -> Tensor:
    """Return an estimate with its light above ``floor`` times measured / predicted; unchanged unless both are > 0."""
    if not (measured > 0 and predicted > 0):
        return estimate
    return floor + (estimate - floor) * (measured / predicted)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of two images, its rows summed in float64, as a scalar on their device."""
    return (a * b).sum(-1).sum(dtype=torch.float64)
