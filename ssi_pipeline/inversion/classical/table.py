"""The classical solvers by the name that the configuration gives them, and where their knob comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.inversion.classical.conjugate import solve_tv_cg, tv_cg_path
from ssi_pipeline.inversion.classical.given import Given
from ssi_pipeline.inversion.classical.primal_dual import solve_tv, tv_path
from ssi_pipeline.inversion.classical.richardson_lucy import richardson_lucy_path, solve_richardson_lucy
from ssi_pipeline.inversion.classical.wiener import solve_wiener, wiener_path
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.inversion.solution import Method


@dataclass(frozen=True, slots=True)
class Classical:
    """A solver with one knob.

    ``solve``: problem, image and knob to the estimate, (z) y x. ``path``: pairs (knob, estimate) for all
    candidates, from the smoothest to the sharpest, in one pass. ``patience``: candidates in sequence without
    improvement after which none that is sharper is tried. ``counts``: the knob is a whole number.
    """

    solve: Callable[[Problem, Given, float], Tensor]
    path: Callable[[Problem, Given], Iterator[tuple[float, Tensor]]]
    patience: int
    counts: bool = False


CLASSICAL = {
    "wiener": Classical(solve_wiener, wiener_path, patience=17),  # all of them: they cost little
    "richardson_lucy": Classical(solve_richardson_lucy, richardson_lucy_path, patience=8, counts=True),
    "tv": Classical(solve_tv, tv_path, patience=2),
    "tv_cg": Classical(solve_tv_cg, tv_cg_path, patience=2),
}


RIVAL: Final = "tv_cg"
"""The classical solver that the network's estimate of a tile has to beat; the best of them on all data tried."""


def calibrated(config: RunConfig) -> Method | None:
    """Return the classical solver whose knob a channel's calibration chooses: the configured one, or the rival.

    A shared network has none: it is there to be quick, and to give in tiles what it gives on the whole.
    """
    if config.solver == "ssi":
        return RIVAL if config.training.select == "best" and config.training.scope != "shared" else None
    return config.solver if config.solver in CLASSICAL else None  # type: ignore[return-value]


def configured_knob(config: RunConfig) -> float | None:
    """Return the knob of the configured solver where the configuration sets it, None where it is to be chosen."""
    set_to = config.classical.iterations if CLASSICAL[config.solver].counts else config.classical.weight
    return None if isinstance(set_to, str) else float(set_to)


def knob_of(problem: Problem, name: str) -> float:
    """Return the knob with which a solver is run: the configured one, or the one that calibration chose.

    Raises
    ------
    ConfigError
        The channel was calibrated for another solver.
    """
    configured = configured_knob(problem.config) if name == problem.config.solver else None
    chosen = problem.calibration.knob if name == calibrated(problem.config) else None
    if configured is None and chosen is None and name == "wiener":
        return problem.calibration.wiener_weight
    knob = chosen if configured is None else configured
    if knob is None:
        raise ConfigError(f"the channel was not calibrated for solver: {name}: calibrate with it, or set its knob")
    return knob
