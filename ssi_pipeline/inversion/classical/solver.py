"""A classical solver behind the protocol of all solvers: the estimate, and its held-out loss."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from torch import Tensor

from ssi_pipeline.inversion.classical.observation import Given, look
from ssi_pipeline.inversion.classical.registry import CLASSICAL, knob_of
from ssi_pipeline.inversion.masking import Stream, generator, hide
from ssi_pipeline.inversion.problem import Problem, Tile, heldout_loss
from ssi_pipeline.inversion.solution import Solution, raw_estimate
from ssi_pipeline.inversion.solver import SolveOptions, Solver


def classical(name: str) -> Solver:
    """Return the solver of a name in ``CLASSICAL``.

    It runs twice: on the whole tile, and on the tile without its held-out pixels V, for the loss on V.
    """

    def solver(problem: Problem, tile: Tile, seed: int, options: SolveOptions) -> Solution:
        """Solve a tile; see ``Solver``."""
        solve = CLASSICAL[name].solve
        knob = knob_of(problem, name) if options.weight is None else options.weight

        def heldout(solve: Callable[[Problem, Given, float], Tensor], knob: float) -> float | None:
            """Return the loss on V of what ``solve`` makes without V; None where it is not finite."""
            loss = heldout_loss(problem, tile, solve(problem, without_heldout(problem, tile, seed), knob))
            return loss if math.isfinite(loss) else None

        after = heldout(solve, knob)
        linear = CLASSICAL["wiener"].solve
        wiener = after if name == "wiener" else heldout(linear, problem.calibration.wiener_weight)
        started = time.perf_counter()
        estimate = raw_estimate(problem.calibration, solve(problem, look(problem, tile.y, tile.observed), knob))
        return Solution(
            estimate=estimate,
            inference_seconds=time.perf_counter() - started,
            method=name,
            heldout_before=after,
            heldout_after=after,
            heldout_wiener=wiener,
            invert=lambda image, observed: solve(problem, look(problem, image, observed), knob),
        )

    return solver


def without_heldout(problem: Problem, tile: Tile, seed: int) -> Given:
    """Return the tile as a solver sees it that must not know V."""
    hidden = hide(tile.y, tile.heldout, problem.config.masking, generator(seed, Stream.FILL), tile.gaps)
    return look(problem, hidden, tile.observed & ~tile.heldout)
