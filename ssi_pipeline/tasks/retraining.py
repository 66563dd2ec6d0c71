"""Solve a tile that stands out a second time, otherwise, and keep the better solution."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from ssi_pipeline.quality.ranks import SCORED, rank_sum

if TYPE_CHECKING:
    from ssi_pipeline.inversion.solution import Solution

RETRAINED = "retrained"
"""Name of the metric that says which of two trainings was kept: 1 the first, 2 the second."""

MORE_STEPS = 2
"""Times as many as the configuration has."""


def better_of_two(solve: Callable[[int, int | None], Solution], training_seed: int) -> tuple[Solution, int]:
    """Solve as always, then with other chance in training and more steps; returns the better one, and its number.

    Whatever happens to the second, the first is there.

    Parameters
    ----------
    solve
        Of a factor of the steps and a seed of the training (None: the usual one). What is hidden from both and what
        judges them has to be the same.
    training_seed
        Of the second training.
    """
    first = solve(1, None)
    try:
        second = solve(MORE_STEPS, training_seed)
    except Exception as problem:  # out of memory, for instance: the first is as good as it was
        said = f"stood out, second training failed: {type(problem).__name__}"
        return dataclasses.replace(first, note="; ".join(filter(None, (first.note, said)))), 1
    if not is_better(second, first):
        return first, 1
    note = f"stood out, trained again with {MORE_STEPS} times the steps"
    return dataclasses.replace(second, note="; ".join(filter(None, (second.note, note)))), 2


def is_better(solution: Solution, than: Solution) -> bool:
    """Tell whether a solution has the lower rank sum; where these are equal, the lower held-out loss."""
    pair = [solution.scores, than.scores]
    if not any(all(name in scores for scores in pair) for name in SCORED):
        return False
    ours, theirs = rank_sum(pair)
    if ours != theirs:
        return bool(ours < theirs)
    losses = solution.heldout_after, than.heldout_after
    return losses[0] is not None and losses[1] is not None and losses[0] < losses[1]
