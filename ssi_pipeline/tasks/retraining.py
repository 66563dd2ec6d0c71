"""Solve a flagged tile twice, with different seeds and numbers of steps, and keep the better solution."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from ssi_pipeline.quality.ranks import SCORED, rank_sum

if TYPE_CHECKING:
    from ssi_pipeline.inversion.solution import Solution

RETRAINED = "retrained"
"""Name of the metric for the training that was kept: 1 the first, 2 the second."""

MORE_STEPS = 2
"""Factor on the configured steps, for the second training."""


def better_of_two(solve: Callable[[int, int | None], Solution], training_seed: int) -> tuple[Solution, int]:
    """Solve normally, then with another seed and more steps; returns the better solution, and its number.

    If the second training fails, the first solution is kept.

    Parameters
    ----------
    solve
        Function of a factor on the steps and a training seed (None: the default). Held-out pixels and metrics must not
        depend on them.
    training_seed
        Seed of the second training.
    """
    first = solve(1, None)
    try:
        second = solve(MORE_STEPS, training_seed)
    except Exception as problem:  # out of memory, for instance: the first solution is valid
        failure = f"flagged, second training failed: {type(problem).__name__}"
        return dataclasses.replace(first, note="; ".join(filter(None, (first.note, failure)))), 1
    if not is_better(second, first):
        return first, 1
    note = f"flagged, retrained with {MORE_STEPS} times the steps"
    return dataclasses.replace(second, note="; ".join(filter(None, (second.note, note)))), 2


def is_better(solution: Solution, than: Solution) -> bool:
    """Return whether a solution has the lower rank sum, or, if equal, the lower held-out loss."""
    pair = [solution.scores, than.scores]
    if not any(all(name in scores for scores in pair) for name in SCORED):
        return False
    ours, theirs = rank_sum(pair)
    if ours != theirs:
        return bool(ours < theirs)
    losses = solution.heldout_after, than.heldout_after
    return losses[0] is not None and losses[1] is not None and losses[0] < losses[1]
