"""Look up classical solvers by name, and resolve their regularisation weight."""

from __future__ import annotations

from typing import Final

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.inversion.classical.observation import Classical
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.methods import SOLVERS

CLASSICAL: dict[str, Classical] = {name: row.loaded() for name, row in SOLVERS.items() if row.tunes}

BASELINES: Final = ("tv_cg", "richardson_lucy")
"""Classical solvers that the network is compared with on each tile, in order of trust: ties go to the first. Total
variation is the best on most data tried; Richardson-Lucy on thin walls in bright light, on textured cells, and where a
bead is brighter than the rest by orders of magnitude."""


def solvers_to_tune(config: RunConfig) -> tuple[str, ...]:
    """Return the classical solvers tuned per channel: the configured one, or the baselines of the network."""
    if config.method.network:
        return BASELINES if config.training.select == "best" else ()
    return (config.solver,) if config.method.tunes else ()


def configured_weight(config: RunConfig, name: str) -> float | None:
    """Return a solver's weight, or number of iterations, as configured; None where it is tuned."""
    value = config.classical.iterations if SOLVERS[name].counts else config.classical.weight
    return None if isinstance(value, str) else float(value)


def weight_of(problem: Problem, name: str) -> float:
    """Return the weight of a solver, or its number of iterations: the configured one, or the one of the calibration.

    Raises
    ------
    ConfigError
        The channel was calibrated for another solver.
    """
    configured = configured_weight(problem.config, name) if name == problem.config.solver else None
    tuned = problem.calibration.weights.get(name)
    if tuned is None and name in solvers_to_tune(problem.config)[:1]:
        tuned = problem.calibration.weight
    if configured is None and tuned is None and name == "wiener":
        return problem.calibration.wiener_weight
    weight = tuned if configured is None else configured
    if weight is None:
        raise ConfigError(f"the channel was not calibrated for solver: {name}: calibrate with it, or set its weight")
    return weight
