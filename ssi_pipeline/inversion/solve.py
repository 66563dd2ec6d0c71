"""From a measurement to an estimate: what needs no solver, and otherwise which one."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ssi_pipeline.config import RunConfig
from ssi_pipeline.inversion.blank import tile_is_blank
from ssi_pipeline.inversion.calibration import ChannelCalibration, tile_weight
from ssi_pipeline.inversion.classical.solver import classical
from ssi_pipeline.inversion.classical.table import RIVAL, calibrated
from ssi_pipeline.inversion.judging import EXCESS, judge
from ssi_pipeline.inversion.measurement import Measurement, to_tensor, to_volume
from ssi_pipeline.inversion.models import Model
from ssi_pipeline.inversion.network_solver import enough_heldout, train_shared
from ssi_pipeline.inversion.problem import Problem, Tile, heldout_loss, pose, prepare
from ssi_pipeline.inversion.solution import Solution, raw_estimate
from ssi_pipeline.inversion.solver import Solver
from ssi_pipeline.inversion.uncertainty import uncertainty
from ssi_pipeline.methods import SOLVERS
from ssi_pipeline.physics.psf import Psf

__all__ = ["Solution", "Solver", "solve", "solver_of", "train_shared"]

LINEAR = "wiener"
"""The solver of tiles that are not worth a training, or cannot be judged."""


def solver_of(name: str) -> Solver:
    """Return what solves a posed problem, by the solver's name in the configuration."""
    row = SOLVERS[name]
    found: Solver = classical(name) if row.tunes else row.loaded()
    return found


def solve(
    measurement: Measurement,
    psf: Psf | None,
    calibration: ChannelCalibration,
    config: RunConfig,
    seed: int,
    device: str,
    start: Model | None = None,
    judged: tuple[slice, ...] | None = None,
    training_seed: int | None = None,
) -> Solution:
    """Estimate x in one tile's domain.

    Parameters
    ----------
    psf
        None where there is no blur.
    seed
        Of all chance in this tile; the result depends on the arguments alone.
    device
        'cpu', 'cuda' or 'cuda:n'.
    start
        A model: applied as it is with scope 'shared', otherwise the start of training.
    judged
        The part of the domain, z y x, whose estimate is kept: the scores are of it alone. None: all.
    training_seed
        Of the chance in training, instead of ``seed``: what is hidden and what judges stay the same.

    Raises
    ------
    ConfigError
        ``start`` does not fit the configuration, or is missing where the scope needs it.
    """
    method = config.method
    if not method.computes:
        return Solution(measurement.y, method.result)
    if not measurement.observed.any():
        level = np.full_like(measurement.y, calibration.offset)
        return Solution(level, "constant", note="no finite pixel: filled with the channel's background level")
    if calibration.empty or measurement.is_constant:
        return Solution(_of_constant(measurement, psf, calibration, config, device), "constant")
    if method.own_recipe:
        found: Solution = method.loaded()(measurement, psf, config, seed, device)
        return found
    problem = pose(psf, calibration, config, device)
    tile = prepare(problem, measurement, seed)
    if method.network and config.training.scope == "per_tile":
        problem, tile = _with_own_weight(problem, tile, measurement, psf, seed)
    if not enough_heldout(tile):
        linear = solver_of(LINEAR)(problem, tile, seed, None)
        note = (
            "" if linear.method == method.result else "too few observed pixels to judge a solution by, linear one kept"
        )
        return _examined(problem, tile, seed, dataclasses.replace(linear, note=note), judged)
    if _trains(config) and tile_is_blank(problem, tile):
        if config.training.scope != "per_tile":  # the tile's own weight, which for noise alone is a large one
            problem, tile = _with_own_weight(problem, tile, measurement, psf, seed)
        chosen = dataclasses.replace(solver_of(LINEAR)(problem, tile, seed, None), method="blank")
    else:
        chosen = solver_of(config.solver)(problem, tile, seed if training_seed is None else training_seed, start)
        chosen = _or_rival(problem, tile, seed, chosen) if method.network else chosen
    return _examined(problem, tile, seed, chosen, judged)


def _trains(config: RunConfig) -> bool:
    """Whether tiles are trained on one by one."""
    return config.method.network and config.training.scope != "shared"


def _examined(problem: Problem, tile: Tile, seed: int, found: Solution, judged: tuple[slice, ...] | None) -> Solution:
    """Return the solution with its scores and its uncertainty, as far as asked for; the estimate stays as it is."""
    config = problem.config
    if found.invert is None or not (config.quality.extended or config.output.uncertainty):
        return found
    estimate = _normal(problem, found.estimate)
    inside = np.zeros(found.estimate.shape, bool)
    inside[judged or ...] = True
    window = to_tensor(inside, problem.axes, problem.device)
    scores = judge(problem, tile, found.invert, estimate, seed, window) if config.quality.extended else {}
    if not config.output.uncertainty:
        return dataclasses.replace(found, scores=scores)
    others = [problem.linear(tile.y)[1]] + ([] if found.rival is None else [_normal(problem, found.rival)])
    known = uncertainty(
        problem, tile, found.invert, estimate, others, config.output.uncertainty, seed, window, scores.get(EXCESS)
    )
    deviation = to_volume(known.deviation)
    scores |= {"uncertainty": float(deviation[inside].mean()), "uncertainty_scale": known.scale}
    raw = deviation * np.float32(problem.calibration.scale)
    return dataclasses.replace(found, scores=scores, uncertainty=raw)


def _normal(problem: Problem, estimate: NDArray[np.float32]) -> Tensor:
    return to_tensor(problem.calibration.normalised(estimate), problem.axes, problem.device)


def _or_rival(problem: Problem, tile: Tile, seed: int, found: Solution) -> Solution:
    """Return the classical rival's solution where it predicts the held-out pixels better than what was found.

    Neither has seen them, and both are judged on the same ones. On smooth images of low contrast a trained network
    is worse than smoothed total variation, by up to 3.4 dB.
    """
    if calibrated(problem.config) is None or problem.calibration.knob is None:
        return found
    rival = solver_of(RIVAL)(problem, tile, seed, None)
    ours, theirs = found.heldout_after, rival.heldout_after
    if theirs is None or (ours is not None and ours <= theirs):
        return dataclasses.replace(found, rival=rival.estimate)
    said = f"{found.method} held-out loss {ours:.4g}, of {RIVAL} {theirs:.4g}" if ours is not None else ""
    return dataclasses.replace(
        found,
        estimate=rival.estimate,
        method=rival.method,
        heldout_after=theirs,
        model=None,
        inference_seconds=rival.inference_seconds,
        invert=rival.invert,
        note="; ".join(filter(None, (found.note, said))),
        rival=found.estimate,
    )


def _with_own_weight(
    problem: Problem, tile: Tile, measurement: Measurement, psf: Psf | None, seed: int
) -> tuple[Problem, Tile]:
    """Pose the problem with the tile's own likeliest weight of the linear part.

    A weight below the channel's is taken only where it predicts the held-out pixels better: the likelihood can fail.
    """
    calibration = problem.calibration
    weight = tile_weight(measurement, psf, calibration, problem.config)
    if weight == calibration.wiener_weight:
        return problem, tile
    own = pose(psf, dataclasses.replace(calibration, wiener_weight=weight), problem.config, problem.device)
    prepared = prepare(own, measurement, seed)
    sharper = weight < calibration.wiener_weight
    if sharper and not heldout_loss(own, prepared, prepared.channels[1]) < heldout_loss(
        problem, tile, tile.channels[1]
    ):
        return problem, tile
    return own, prepared


def _of_constant(
    measurement: Measurement, psf: Psf | None, calibration: ChannelCalibration, config: RunConfig, device: str
) -> NDArray[np.float32]:
    """The linear solution, without training; of an empty channel, which has no scale, the measurement itself."""
    if calibration.empty:
        return measurement.y
    problem = pose(psf, calibration, config, device)
    normal = calibration.normalised(measurement.y)
    return raw_estimate(calibration, problem.linear(to_tensor(normal, problem.axes, device))[1])
