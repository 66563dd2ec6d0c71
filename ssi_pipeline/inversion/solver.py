"""What every solver is: from the posed problem and one tile of it to a solution."""

from __future__ import annotations

from typing import Protocol

from ssi_pipeline.inversion.models import Model
from ssi_pipeline.inversion.problem import Problem, Tile
from ssi_pipeline.inversion.solution import Solution


class Solver(Protocol):
    """Estimates x in a tile that is not constant and has observed pixels enough to judge the result by.

    The result depends on the arguments alone; all chance comes from ``seed``. ``start`` is a model to start
    from, for solvers that train.
    """

    def __call__(self, problem: Problem, tile: Tile, seed: int, start: Model | None) -> Solution:
        """Return the estimate on the tile's domain, and its held-out loss."""
