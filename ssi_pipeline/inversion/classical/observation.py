"""What a classical solver sees of a tile, and the one weight or count that it leaves open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from ssi_pipeline.inversion.problem import Problem


@dataclass(frozen=True, slots=True)
class Observation:
    """One image in normalised units, (z) y x.

    ``repaired``: the image with the median in place of each impulse. ``known``: True where the image was
    observed and is no impulse; only these pixels carry a data term, where a solver can leave pixels out.
    """

    repaired: Tensor
    known: Tensor


@dataclass(frozen=True, slots=True)
class Classical:
    """A solver with one weight.

    ``solve``: problem, image and weight to the estimate, (z) y x. ``path``: pairs (weight, estimate) for all
    candidates, from the smoothest to the sharpest, in one pass. ``patience``: candidates in sequence without
    improvement after which none that is sharper is tried.
    """

    solve: Callable[[Problem, Observation, float], Tensor]
    path: Callable[[Problem, Observation], Iterator[tuple[float, Tensor]]]
    patience: int


def observe(problem: Problem, image: Tensor, observed: Tensor) -> Observation:
    """Find and repair the impulses of an image; all is computed from this image alone."""
    repaired = problem.linear.impulses.repair(image)
    return Observation(repaired, observed & (repaired == image))
