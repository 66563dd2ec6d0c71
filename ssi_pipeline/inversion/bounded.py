"""Choose the directions of conjugate gradients for a minimisation over x >= floor: two-metric projection.

Pixels that a gradient step would bring to the bound go there, and conjugate gradients (Polak and Ribiere 1969, beta >=
0) see the others: without this a few pixels beside a bright object, each about to be projected, spoil the conjugacy of
all (Bertsekas 1982). A step that leaves the feasible set is projected onto it. Without such pixels nothing of this
acts.
"""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-30


class BoundedDirections:
    """Directions of descent from the gradients at successive estimates.

    Parameters
    ----------
    floor
        Lower bound; minus infinity without one.
    """

    def __init__(self, floor: float) -> None:
        self._floor = floor
        self._reach = 1.0
        self._size = 0.0
        self._gradient: Tensor | None = None
        self._direction: Tensor | None = None

    def after(self, x: Tensor, gradient: Tensor) -> Tensor:
        """Return the direction at an estimate with this gradient."""
        free = x - self._floor > self._reach * gradient
        steepest = gradient * free
        direction = -steepest
        if self._gradient is not None and self._direction is not None and self._size:
            beta = max(dot(steepest, steepest - self._gradient) / self._size, 0.0)
            direction = (beta * self._direction - steepest) * free
        if dot(direction, steepest) >= 0:  # no descent direction: restart
            direction = -steepest
        self._gradient, self._direction, self._size = steepest, direction, dot(steepest, steepest)
        return torch.where(free, direction, (self._floor - x) / self._reach)

    def projected(self, x: Tensor, gradient: Tensor, change: Tensor, step: float) -> Tensor | None:
        """Return the feasible change in place of a step that leaves the feasible set; None where it does not.

        It descends, but its length may be up to 1 only: search again along it.
        """
        self._reach = max(step, _TINY)
        if not bool((x + step * change < self._floor).any()):
            return None
        kept = (x + step * change).clamp(min=self._floor) - x
        return kept if dot(kept, gradient) < 0 else (x - step * gradient).clamp(min=self._floor) - x


def with_light_of(estimate: Tensor, floor: float, measured: float, predicted: float) -> Tensor:
    """Return an estimate with its light above ``floor`` times measured / predicted; unchanged unless both are > 0."""
    if not (measured > 0 and predicted > 0):
        return estimate
    return floor + (estimate - floor) * (measured / predicted)


def dot(a: Tensor, b: Tensor) -> float:
    """Return the inner product of two images, summed in float64. Synchronises the device."""
    return float((a * b).sum(dtype=torch.float64))
