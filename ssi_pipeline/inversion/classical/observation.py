"""What a classical solver sees of a tile, and the one weight or count that it leaves open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from ssi_pipeline.inversion.problem import Problem


@dataclass(frozen=True, slots=True)
class Given:
    """One image in normalised units, (z) y x.

    ``repaired``: the image with the median in place of each impulse. ``known``: True where the image was
    observed and is no impulse; only these pixels carry a data term, where a solver can leave pixels out.
    """

    repaired: Tensor
    known: Tensor


@dataclass(frozen=True, slots=True)
class Classical:
    """A solver with one knob.

    ``solve``: problem, image and knob to the estimate, (z) y x. ``path``: pairs (knob, estimate) for all
    candidates, from the smoothest to the sharpest, in one pass. ``patience``: candidates in sequence without
    improvement after which none that is sharper is tried.
    """

    solve: Callable[[Problem, Given, float], Tensor]
    path: Callable[[Problem, Given], Iterator[tuple[float, Tensor]]]
    patience: int


def look(problem: Problem, image: Tensor, observed: Tensor) -> Given:
    """Find and repair the impulses of an image; all is computed from this image alone."""
    repaired = problem.linear.impulses.repair(image)
    return Given(repaired, observed & (repaired == image))
