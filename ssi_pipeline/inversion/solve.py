"""Solve one tile: handle trivial tiles, run the solver, compare with the baseline, compute scores and uncertainty."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ssi_pipeline.config import RunConfig
from ssi_pipeline.inversion.assess.blind_metrics import EXCESS, blind_metrics_of
from ssi_pipeline.inversion.assess.contest import preferred, worse_by
from ssi_pipeline.inversion.assess.signal_test import tile_is_noise_only
from ssi_pipeline.inversion.assess.uncertainty import uncertainty
from ssi_pipeline.inversion.classical.registry import solvers_to_tune
from ssi_pipeline.inversion.classical.solver import Prediction, classical, predict
from ssi_pipeline.inversion.linear.prior_weight import with_own_weight
from ssi_pipeline.inversion.measurement import Measurement, to_tensor, to_volume
from ssi_pipeline.inversion.network.precision import float32_means_float32
from ssi_pipeline.inversion.network.solver import enough_heldout, train_shared
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.inversion.solution import Solution, raw_estimate
from ssi_pipeline.inversion.solver import AS_CONFIGURED, SolveOptions, Solver
from ssi_pipeline.inversion.tile import TileTensors, make_tile_tensors
from ssi_pipeline.methods import SOLVERS
from ssi_pipeline.methods import Solver as SolverRow
from ssi_pipeline.phases import phase

__all__ = ["Solution", "SolveOptions", "Solver", "solve", "solver_of", "train_shared"]

LINEAR = "wiener"
"""Solver of tiles of noise alone, and of tiles with too few held-out pixels."""


def solver_of(name: str) -> Solver:
    """Return the implementation of a solver by its name in the configuration."""
    row = SOLVERS[name]
    found: Solver = classical(name) if row.tunes else row.loaded()
    return found


def solve(problem: Problem, measurement: Measurement, seed: int, options: SolveOptions = AS_CONFIGURED) -> Solution:
    """Estimate x on one tile's domain.

    The result is a deterministic function of the arguments.

    Parameters
    ----------
    problem
        Inverse problem of the tile's channel, from ``build_problem``.
    measurement
        Raw units, z y x; with its place where the PSF varies.
    seed
        Seed of all random numbers of the tile.
    options
        Deviations from the configuration.

    Raises
    ------
    ConfigError
        ``options.start`` does not fit the configuration, or is missing where the scope needs it.
    """
    with float32_means_float32(problem.device):
        return _solve(problem.at(measurement.place), measurement, seed, options)


def _solve(problem: Problem, measurement: Measurement, seed: int, options: SolveOptions) -> Solution:
    method = SOLVERS[options.solver or problem.config.solver]
    if not method.computes:
        return Solution(measurement.y, method.result)
    trivial = _trivial_solution(problem, measurement)
    if trivial is not None:
        return trivial
    if method.own_recipe:
        with phase("train"):
            found: Solution = method.loaded()(problem, measurement, seed)
        return found
    with phase("prepare"):
        tile = make_tile_tensors(problem, measurement, seed)
        if method.network and problem.config.training.scope == "per_tile":
            problem, tile = with_own_weight(problem, tile, measurement)
    if not enough_heldout(tile):
        return _with_scores(problem, tile, seed, _linear_fallback(problem, tile, seed, method), options)
    if _trains(problem.config, method) and _is_noise_only(problem, tile):
        if problem.config.training.scope != "per_tile":  # the tile's own weight is large for noise alone
            problem, tile = with_own_weight(problem, tile, measurement)
        chosen = dataclasses.replace(_linear(problem, tile, seed), method="blank")
    else:
        chosen = _run_solver(problem, tile, seed, method, options)
    return _with_scores(problem, tile, seed, chosen, options)


def _is_noise_only(problem: Problem, tile: TileTensors) -> bool:
    with phase("prepare"):
        return tile_is_noise_only(problem, tile)


def without_network(problem: Problem) -> str:
    """Return the solver of a channel whose shared training failed: the first of its baselines, or the linear one."""
    return next((name for name in solvers_to_tune(problem.config) if name in problem.calibration.weights), LINEAR)


def _trivial_solution(problem: Problem, measurement: Measurement) -> Solution | None:
    """Return the solution of a tile that is constant or has no observed pixel; None for any other."""
    calibration = problem.calibration
    if not measurement.observed.any():
        level = np.full_like(measurement.y, calibration.offset)
        return Solution(level, "constant", note="no finite pixel: filled with the channel's background level")
    if calibration.empty:  # no scale to normalise with
        return Solution(measurement.y, "constant")
    if not measurement.is_constant:
        return None
    normal = to_tensor(calibration.normalised(measurement.y), problem.axes, problem.device)
    return Solution(raw_estimate(calibration, problem.linear(normal)[1]), "constant")


def _linear(problem: Problem, tile: TileTensors, seed: int) -> Solution:
    return solver_of(LINEAR)(problem, tile, seed, AS_CONFIGURED)


def _linear_fallback(problem: Problem, tile: TileTensors, seed: int, method: SolverRow) -> Solution:
    """Return the linear solution of a tile with too few held-out pixels to compare solutions."""
    linear = _linear(problem, tile, seed)
    if linear.method == method.result:
        return linear
    return dataclasses.replace(linear, note="too few observed pixels to validate a solution, linear solution kept")


def _run_solver(problem: Problem, tile: TileTensors, seed: int, method: SolverRow, options: SolveOptions) -> Solution:
    """Return the solver's solution, or its baseline's where that predicts the held-out pixels better."""
    solver, own_seed = solver_of(method.name), seed if options.training_seed is None else options.training_seed
    if not method.network:
        with phase("estimate"):
            return solver(problem, tile, own_seed, options)
    with phase("rival"):
        baseline = _best_baseline(problem, tile, seed)
    rival = None if baseline is None else baseline.errors
    found = solver(problem, tile, own_seed, dataclasses.replace(options, rival=rival))
    return found if baseline is None else _better(problem, tile, seed, found, baseline)


def _trains(config: RunConfig, method: SolverRow) -> bool:
    """Return whether the solver trains on individual tiles."""
    return method.network and config.training.scope != "shared"


def _with_scores(problem: Problem, tile: TileTensors, seed: int, found: Solution, options: SolveOptions) -> Solution:
    """Return the solution with scores and uncertainty, as far as requested; the estimate is unchanged."""
    if not options.scored:
        return found
    with phase("judge"):
        return _scored(problem, tile, seed, found, options.scored_region)


def _scored(
    problem: Problem, tile: TileTensors, seed: int, found: Solution, scored_region: tuple[slice, ...] | None
) -> Solution:
    config = problem.config
    if found.invert is None or not (config.quality.extended or config.output.uncertainty):
        return found
    estimate = _normal(problem, found.estimate)
    inside = np.zeros(found.estimate.shape, bool)
    inside[scored_region or ...] = True
    window = to_tensor(inside, problem.axes, problem.device)
    scores = blind_metrics_of(problem, tile, found.invert, estimate, seed, window) if config.quality.extended else {}
    if not config.output.uncertainty:
        return dataclasses.replace(found, scores=scores)
    known = uncertainty(
        problem,
        tile,
        found.invert,
        estimate,
        config.output.uncertainty,
        seed,
        scored=window,
        risk=scores.get(EXCESS),
        linear=tile.whole.channels[1],
        alternative=None if found.alternative is None else _normal(problem, found.alternative),
    )
    deviation = to_volume(known.deviation)
    seen = inside & to_volume(tile.observed).astype(bool)
    scores |= {"uncertainty": float(deviation[seen if seen.any() else inside].mean()), "uncertainty_scale": known.scale}
    raw = deviation * np.float32(problem.calibration.scale)
    return dataclasses.replace(found, scores=scores, uncertainty=raw)


def _normal(problem: Problem, estimate: NDArray[np.float32]) -> Tensor:
    return to_tensor(problem.calibration.normalised(estimate), problem.axes, problem.device)


def _best_baseline(problem: Problem, tile: TileTensors, seed: int) -> Prediction | None:
    """Return the first classical baseline, or one that predicts the held-out pixels better; None without any."""
    names = [name for name in solvers_to_tune(problem.config) if name in problem.calibration.weights]
    return preferred(problem, tile, seed, [predict(problem, tile, name) for name in names])


def _better(problem: Problem, tile: TileTensors, seed: int, found: Solution, baseline: Prediction) -> Solution:
    """Return the network's solution, or that of the baseline where it predicts hidden pixels better.

    They are hidden from both, and are the same for both. On smooth images of low contrast a trained network is worse
    than smoothed total variation, by up to 3.8 dB; a shared one on content that it was not trained on. The baseline
    solves the whole tile only where that is used.
    """
    ours, theirs, losing = found.heldout_after, baseline.loss, ""
    compared = found.errors is not None and ours is not None
    deviations = worse_by(problem, tile, seed, found, baseline) if compared and theirs is not None else 0.0
    if theirs is None or (compared and deviations <= 0):
        alternative = baseline.estimate() if problem.config.output.uncertainty else None
        return dataclasses.replace(found, alternative=alternative)
    if compared:
        known = f"{ours:.4g}, of {baseline.name} {theirs:.4g}, {deviations:.1f} standard errors"
        losing = f"{found.method} held-out loss {known}"
    started = time.perf_counter()
    estimate = baseline.estimate()
    return dataclasses.replace(
        found,
        estimate=estimate,
        method=SOLVERS[baseline.name].result,
        heldout_after=theirs,
        errors=baseline.errors,
        model=None,
        inference_seconds=time.perf_counter() - started,
        invert=baseline.invert,
        note="; ".join(filter(None, (found.note, losing))),
        alternative=found.estimate,
    )
