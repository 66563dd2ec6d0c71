"""Define the protocol of solvers, and the options of one solve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ssi_pipeline.inversion.network.checkpoint import Model
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.inversion.solution import Solution
from ssi_pipeline.inversion.tile import TileTensors


@dataclass(frozen=True, slots=True)
class SolveOptions:
    """Options of one solve that deviate from the configuration.

    Attributes
    ----------
    solver
        Name of the solver; None: the configured one.
    weight
        Regularisation weight of a classical solver, or its number of iterations; None: as configured or tuned.
    start
        Model to apply unchanged with scope 'shared', otherwise the start of training.
    scored_region
        Part of the domain (z y x) on which scores are computed; None: all of it.
    scored
        Compute scores and uncertainty as configured; False: neither, where only estimate and held-out loss are used.
    training_seed
        Seed of training in place of the tile's; masks of the scores and held-out pixels stay the same.
    step_factor
        Factor on the configured number of training steps.
    batch
        Patches per training step; None: as configured.
    rival
        Squared errors on V of the best baseline, which a training has to beat: it stops where it no longer can. None:
        it runs to its end.
    """

    solver: str | None = None
    weight: float | None = None
    start: Model | None = None
    scored_region: tuple[slice, ...] | None = None
    scored: bool = True
    training_seed: int | None = None
    step_factor: int = 1
    batch: int | None = None
    rival: Tensor | None = field(default=None, repr=False, compare=False)


AS_CONFIGURED = SolveOptions()

OnValidation = Callable[[int, Callable[[], NDArray[np.float32]]], None]
"""Callback at each validation: number of steps, and a function that returns the current estimate (z y x, raw)."""


class Solver(Protocol):
    """Solver of a tile that is not constant and has enough held-out pixels.

    The result is a deterministic function of the arguments; all random numbers come from ``seed``.
    """

    def __call__(self, problem: Problem, tile: TileTensors, seed: int, options: SolveOptions) -> Solution:
        """Return the estimate on the tile's domain, with its held-out loss."""
