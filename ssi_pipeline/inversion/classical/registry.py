"""The classical solvers by the name that the configuration gives them, and where their weight comes from."""

from __future__ import annotations

from typing import Final

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.inversion.classical.observation import Classical
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.methods import SOLVERS

CLASSICAL: dict[str, Classical] = {name: row.loaded() for name, row in SOLVERS.items() if row.tunes}

BASELINE: Final = "tv_cg"
"""The classical solver that the network's estimate of a tile has to beat; the best of them on all data tried."""


def calibrated(config: RunConfig) -> str | None:
    """Return the classical solver whose weight a channel's calibration chooses: the configured one, or the baseline.

    A shared network has none: it is there to be quick, and to give in tiles what it gives on the whole.
    """
    if config.method.network:
        return BASELINE if config.training.select == "best" and config.training.scope != "shared" else None
    return config.solver if config.method.tunes else None


def configured_weight(config: RunConfig, name: str) -> float | None:
    """Return a solver's weight, or number of iterations, where the configuration sets it; None: it is to be tuned."""
    set_to = config.classical.iterations if SOLVERS[name].counts else config.classical.weight
    return None if isinstance(set_to, str) else float(set_to)


def weight_without_network(problem: Problem) -> float | None:
    """Return the weight of the linear solution of tiles whose channel's shared training failed.

    The configured or tuned one. The tuned one is the baseline's, of another prior: the channel's ``wiener_weight``
    would be right. It stays until ``ALGORITHM`` is raised, as results would change.
    """
    configured = configured_weight(problem.config, "wiener")
    return problem.calibration.weight if configured is None else configured


def weight_of(problem: Problem, name: str) -> float:
    """Return the weight with which a solver is run: the configured one, or the one that calibration chose.

    Raises
    ------
    ConfigError
        The channel was calibrated for another solver.
    """
    configured = configured_weight(problem.config, name) if name == problem.config.solver else None
    chosen = problem.calibration.weight if name == calibrated(problem.config) else None
    if configured is None and chosen is None and name == "wiener":
        return problem.calibration.wiener_weight
    weight = chosen if configured is None else configured
    if weight is None:
        raise ConfigError(f"the channel was not calibrated for solver: {name}: calibrate with it, or set its weight")
    return weight
