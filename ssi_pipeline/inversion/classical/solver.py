"""Adapt a classical solver to the protocol of solvers: estimate and held-out loss."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssi_pipeline.inversion.classical.observation import Observation, observation_of
from ssi_pipeline.inversion.classical.registry import CLASSICAL, weight_of
from ssi_pipeline.inversion.linear.part import LinearPart
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.inversion.solution import Solution, raw_estimate
from ssi_pipeline.inversion.solver import SolveOptions, Solver
from ssi_pipeline.inversion.tile import TileTensors, heldout_errors
from ssi_pipeline.methods import SOLVERS


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a classical solver predicts of the held-out pixels V of a tile; the tile itself is solved on request.

    Attributes
    ----------
    name
        Name of the solver.
    errors
        Squared errors on V, flat, float64; None where they are not finite.
    invert
        The solver as a function of a normalised image and its observed pixels, both (z) y x.
    estimate
        Solves the whole tile: as ``Solution.estimate``.
    """

    name: str
    errors: Tensor | None
    invert: Callable[[Tensor, Tensor], Tensor]
    estimate: Callable[[], NDArray[np.float32]]

    @property
    def loss(self) -> float | None:
        """Held-out loss; None where it is not finite."""
        return None if self.errors is None else float(self.errors.mean())


def predict(problem: Problem, tile: TileTensors, name: str, weight: float | None = None) -> Prediction:
    """Solve a tile without its held-out pixels V by a solver in ``CLASSICAL``.

    ``weight``: its regularisation weight, or number of iterations; None: as configured or tuned.
    """
    solve = CLASSICAL[name].solve
    used = weight_of(problem, name) if weight is None else weight
    shown = without_heldout(problem, tile)
    blind = solve(problem, shown, used)
    errors = heldout_errors(problem, tile, blind)

    def invert(image: Tensor, observed: Tensor) -> Tensor:
        """Return the estimate; that without V, which the first of the blind metrics' masks is, is known."""
        part = tile.masked if torch.equal(image, tile.masked.image) else LinearPart(problem.linear, image)
        given = observation_of(part, observed)
        return blind if given.equals(shown) else solve(problem, given, used)

    def estimate() -> NDArray[np.float32]:
        """Solve the whole tile."""
        return raw_estimate(problem.calibration, solve(problem, observation_of(tile.whole, tile.observed), used))

    return Prediction(name, errors if math.isfinite(float(errors.mean())) else None, invert, estimate)


def classical(name: str) -> Solver:
    """Return the classical solver of a name in ``CLASSICAL``, with the signature of ``Solver``.

    It solves twice: the whole tile for the estimate, and the tile without its held-out pixels V for the loss on V.
    """

    def solver(problem: Problem, tile: TileTensors, seed: int, options: SolveOptions) -> Solution:  # noqa: ARG001
        """Solve a tile; see ``Solver``."""
        found = predict(problem, tile, name, options.weight)
        wiener = found.loss if name == "wiener" else _linear_loss(problem, tile)
        started = time.perf_counter()
        estimate = found.estimate()
        return Solution(
            estimate=estimate,
            inference_seconds=time.perf_counter() - started,
            method=SOLVERS[name].result,
            heldout_before=found.loss,
            heldout_after=found.loss,
            heldout_wiener=wiener,
            errors=found.errors,
            invert=found.invert,
        )

    return solver


def _linear_loss(problem: Problem, tile: TileTensors) -> float | None:
    """Return the held-out loss of the constrained Wiener solution of a tile without V; None where it is not finite."""
    shown = without_heldout(problem, tile)
    estimate = CLASSICAL["wiener"].solve(problem, shown, problem.calibration.wiener_weight)
    loss = float(heldout_errors(problem, tile, estimate).mean())
    return loss if math.isfinite(loss) else None


def without_heldout(problem: Problem, tile: TileTensors) -> Observation:
    """Return the observation of a tile with its held-out pixels V hidden."""
    return observation_of(tile.masked, problem.remaining(tile.observed, tile.heldout))
