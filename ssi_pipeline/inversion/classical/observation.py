"""Define the input of classical solvers, and their common interface with one tuned parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ssi_pipeline.inversion.linear.part import LinearPart
from ssi_pipeline.inversion.problem import Problem


@dataclass(frozen=True, slots=True)
class Observation:
    """One image in normalised units, (z) y x.

    Attributes
    ----------
    repaired
        The image with impulses replaced by the local median.
    known
        True at observed pixels that are no impulses. Only these have a data term, in solvers that can exclude pixels.
    """

    repaired: Tensor
    known: Tensor

    def equals(self, other: Observation) -> bool:
        """Return whether it is the same image. Synchronises the device."""
        return torch.equal(self.known, other.known) and torch.equal(self.repaired, other.repaired)


@dataclass(frozen=True, slots=True)
class Classical:
    """A classical solver with one parameter: a regularisation weight, or a number of iterations.

    Attributes
    ----------
    solve
        Maps problem, image and weight to the estimate (z) y x, normalised.
    path
        Yields (weight, estimate) for all candidate weights in one pass, from the smoothest to the sharpest.
    patience
        Consecutive candidates without improvement after which tuning stops.
    """

    solve: Callable[[Problem, Observation, float], Tensor]
    path: Callable[[Problem, Observation], Iterator[tuple[float, Tensor]]]
    patience: int


def observe(problem: Problem, image: Tensor, observed: Tensor) -> Observation:
    """Find and repair the impulses of an image, using this image alone."""
    return observation_of(LinearPart(problem.linear, image), observed)


def observation_of(part: LinearPart, observed: Tensor) -> Observation:
    """Return the observation of an image whose impulses may be known already."""
    return Observation(part.repaired, observed & (part.repaired == part.image))
