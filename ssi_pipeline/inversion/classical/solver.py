"""Adapt a classical solver to the protocol of solvers: estimate and held-out loss."""

from __future__ import annotations

import math
import time

from torch import Tensor

from ssi_pipeline.inversion.classical.observation import Observation, observation_of, observe
from ssi_pipeline.inversion.classical.registry import CLASSICAL, weight_of
from ssi_pipeline.inversion.masking import cover
from ssi_pipeline.inversion.problem import Problem, TileTensors, heldout_errors
from ssi_pipeline.inversion.solution import Solution, raw_estimate
from ssi_pipeline.inversion.solver import SolveOptions, Solver
from ssi_pipeline.methods import SOLVERS


def classical(name: str) -> Solver:
    """Return the classical solver of a name in ``CLASSICAL``, with the signature of ``Solver``.

    It solves twice: the whole tile for the estimate, and the tile without its held-out pixels V for the loss on V.
    """

    def solver(problem: Problem, tile: TileTensors, seed: int, options: SolveOptions) -> Solution:  # noqa: ARG001
        """Solve a tile; see ``Solver``."""
        solve = CLASSICAL[name].solve
        weight = weight_of(problem, name) if options.weight is None else options.weight
        shown = without_heldout(problem, tile)
        blind = solve(problem, shown, weight)
        errors = heldout_errors(problem, tile, blind)
        after = _finite(errors)
        wiener = after if name == "wiener" else _linear_loss(problem, tile, shown)

        def invert(image: Tensor, observed: Tensor) -> Tensor:
            """Return the estimate; that without V, which the first of the blind metrics' masks is, is known."""
            given = observe(problem, image, observed)
            return blind if given.equals(shown) else solve(problem, given, weight)

        started = time.perf_counter()
        estimate = raw_estimate(problem.calibration, solve(problem, observation_of(tile.whole, tile.observed), weight))
        return Solution(
            estimate=estimate,
            inference_seconds=time.perf_counter() - started,
            method=SOLVERS[name].result,
            heldout_before=after,
            heldout_after=after,
            heldout_wiener=wiener,
            errors=errors if after is not None else None,
            invert=invert,
        )

    return solver


def _linear_loss(problem: Problem, tile: TileTensors, shown: Observation) -> float | None:
    """Return the held-out loss of the constrained Wiener solution of a tile without V."""
    estimate = CLASSICAL["wiener"].solve(problem, shown, problem.calibration.wiener_weight)
    return _finite(heldout_errors(problem, tile, estimate))


def _finite(errors: Tensor) -> float | None:
    """Return the mean; None where it is not finite."""
    loss = float(errors.mean())
    return loss if math.isfinite(loss) else None


def without_heldout(problem: Problem, tile: TileTensors) -> Observation:
    """Return the observation of a tile with its held-out pixels V hidden."""
    return observation_of(tile.masked, tile.observed & ~cover(tile.heldout, problem.footprint))
