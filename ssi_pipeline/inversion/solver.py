"""What every solver is: from the problem of a channel and one tile of it to a solution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.inversion.network.checkpoint import Model
from ssi_pipeline.inversion.problem import Problem, TileTensors
from ssi_pipeline.inversion.solution import Solution


@dataclass(frozen=True, slots=True)
class SolveOptions:
    """How one tile is solved, where that is not a matter of the configuration.

    Attributes
    ----------
    solver
        Its name; None: the configured one.
    weight
        Of a classical solver, or its number of iterations; None: as configured or tuned.
    start
        A model: applied as it is with scope 'shared', otherwise the start of training.
    judged
        The part of the domain, z y x, whose estimate is kept: the scores are of it alone. None: all.
    training_seed
        Of the chance in training, instead of the tile's seed: what is hidden and what judges stay the same.
    step_factor
        Times as many steps of training as configured.
    batch
        Patches in a step of training; None: as configured.
    """

    solver: str | None = None
    weight: float | None = None
    start: Model | None = None
    judged: tuple[slice, ...] | None = None
    training_seed: int | None = None
    step_factor: int = 1
    batch: int | None = None


AS_CONFIGURED = SolveOptions()

OnValidation = Callable[[int, Callable[[], NDArray[np.float32]]], None]
"""Called after each validation with the steps so far and a function that gives the present estimate (z y x, raw)."""


class Solver(Protocol):
    """Estimates x in a tile that is not constant and has observed pixels enough to judge the result by.

    The result depends on the arguments alone; all chance comes from ``seed``.
    """

    def __call__(self, problem: Problem, tile: TileTensors, seed: int, options: SolveOptions) -> Solution:
        """Return the estimate on the tile's domain, and its held-out loss."""
