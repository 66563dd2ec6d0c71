"""Solve by training a network: attempts, shared models, and the fallback to the linear solution."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssi_pipeline.errors import ConfigError, TrainingError
from ssi_pipeline.inversion.classical.solver import classical
from ssi_pipeline.inversion.linear.part import LinearPart
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.network.applied import F, corrected_f, plain_f
from ssi_pipeline.inversion.network.batches import Schedule
from ssi_pipeline.inversion.network.checkpoint import Model, pack, unpack
from ssi_pipeline.inversion.network.precision import float32_means_float32
from ssi_pipeline.inversion.network.training import (
    SIGNIFICANT,
    OnState,
    State,
    Trained,
    deviations,
    train,
)
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.inversion.solution import Solution, raw_estimate
from ssi_pipeline.inversion.solver import AS_CONFIGURED, OnValidation, SolveOptions
from ssi_pipeline.inversion.tile import TileTensors, heldout_errors, heldout_loss, make_tile_tensors
from ssi_pipeline.phases import phase

_FEWEST_HELDOUT = 16
"""Fewest usable held-out pixels of a tile to train on it."""


def enough_heldout(tile: TileTensors) -> bool:
    """Return whether a tile has enough usable held-out pixels to compare solutions."""
    return int((tile.heldout & tile.usable).sum()) >= _FEWEST_HELDOUT


def solve_by_network(
    problem: Problem,
    tile: TileTensors,
    seed: int,
    options: SolveOptions = AS_CONFIGURED,
    on_validation: OnValidation | None = None,
) -> Solution:
    """Train f on a tile, starting from ``options.start`` if given; with scope 'shared' apply that model unchanged.

    Parameters
    ----------
    problem, tile
        Inverse problem of the channel, and the tile.
    seed
        Seed of the training.
    options
        Deviations from the configuration.
    on_validation
        Callback at each validation of each attempt; it must not change the state of any generator.

    Raises
    ------
    ConfigError
        ``options.start`` does not fit the configuration, or is missing where the scope needs it.
    """
    training, start = problem.config.training, options.start
    wiener = heldout_loss(problem, tile, tile.channels[1])
    if start is None and training.scope != "per_tile":
        raise ConfigError(f"training.scope {training.scope} needs a shared model to start from")
    state = None if start is None else unpack(problem, start)
    if state is not None and training.scope == "shared":
        with phase("estimate"):
            return _apply_shared(problem, tile, state, wiener, start)
    fine = training.scope == "fine_tune"
    steps = training.fine_tune_steps if fine else Schedule.of(problem.config, [tile]).steps
    schedule = Schedule(options.step_factor * steps, options.batch or training.batch)
    return _train_or_fall_back(problem, tile, state, schedule, wiener, seed, on_validation, options.rival)


def train_shared(problem: Problem, measurements: Sequence[Measurement], seed: int, start: Model | None = None) -> Model:
    """Train one shared f on several tiles of a channel.

    Parameters
    ----------
    problem
        Inverse problem of the channel.
    measurements
        Tiles, raw units; constant ones are left out.
    seed
        Seed of the training and of the held-out pixels.
    start
        Model to start from.

    Raises
    ------
    TrainingError
        Every attempt failed, all tiles are constant, or none has enough observed pixels.
    """
    with float32_means_float32(problem.device):
        return _train_shared(problem, measurements, seed, start)


def _train_shared(problem: Problem, measurements: Sequence[Measurement], seed: int, start: Model | None) -> Model:
    if problem.varies:
        raise ConfigError("the PSF varies over the image: expected a network for each tile, or one PSF")
    seen = [m for m in measurements if not m.is_constant]
    if problem.calibration.empty or not seen:
        raise TrainingError("every tile chosen for shared training is constant")
    tiles = [make_tile_tensors(problem, m, seed + i) for i, m in enumerate(seen)]
    tiles = [tile for tile in tiles if enough_heldout(tile)]
    if not tiles:
        raise TrainingError("no tile chosen for shared training has enough observed pixels")
    wiener = float(torch.cat([heldout_errors(problem, tile, tile.channels[1]) for tile in tiles]).mean())
    state = None if start is None else unpack(problem, start)
    training = problem.config.training
    trained, _, reason = _attempts(problem, tiles, state, Schedule.of(problem.config, tiles), wiener, seed)
    if trained is None:
        raise TrainingError(f"shared training failed {training.attempts} times: {reason}")
    return pack(problem, trained.state)


def _attempts(
    problem: Problem,
    tiles: Sequence[TileTensors],
    start: State | None,
    schedule: Schedule,
    wiener: float,
    seed: int,
    on_state: OnState | None = None,
    rival: Tensor | None = None,
    errors_of: Callable[[State, State | None], Tensor] | None = None,
) -> tuple[Trained | None, int, str]:
    """Train until an attempt is better than the Wiener solution, or given up against a rival that is.

    Return it, the attempts made, and the last failure. ``errors_of``: squared errors on V with parameters and those
    before training, where more is done with f's estimate than in training.
    """

    def concede(state: State, origin: State | None) -> bool:
        """Return whether the rival is better for certain."""
        return rival is None or errors_of is None or deviations(errors_of(state, origin) - rival) > SIGNIFICANT

    reason = ""
    for attempt in range(1, problem.config.training.attempts + 1):
        try:
            trained = train(problem, tiles, schedule, seed, attempt, start, wiener, on_state, rival, concede)
            given_up = rival is not None and float(rival.mean()) < wiener and trained.steps < schedule.steps
            loss = trained.after
            if not (loss < wiener or given_up) and errors_of is not None:
                loss = float(errors_of(trained.state, trained.origin).mean())
            if not (loss < wiener or given_up):
                raise TrainingError(f"held-out loss {loss:.4g}, of the Wiener solution {wiener:.4g}")
            return trained, attempt, ""
        except ConfigError:
            raise
        except TrainingError as error:
            reason = str(error)
    return None, problem.config.training.attempts, reason


def _train_or_fall_back(
    problem: Problem,
    tile: TileTensors,
    start: State | None,
    schedule: Schedule,
    wiener: float,
    seed: int,
    on_validation: OnValidation | None,
    rival: Tensor | None,
) -> Solution:
    """Return the solution of the trained network, or the linear one where every attempt failed."""

    def on_state(step: int, state: State, origin: State | None) -> None:
        """Call ``on_validation`` with the step and a function that computes the current estimate."""
        if on_validation is not None:
            on_validation(step, lambda: _estimate(problem, tile, plain_f(problem, tile, state, origin)))

    def errors_of(state: State, origin: State | None) -> Tensor:
        """Return the squared errors on V of f, corrected by the data."""
        return corrected_f(problem, tile, state, origin)[1]

    started = time.perf_counter()
    with phase("train"):
        trained, attempts, reason = _attempts(
            problem, [tile], start, schedule, wiener, seed, on_state, rival, errors_of
        )
    seconds = time.perf_counter() - started
    if trained is None:
        note = f"training failed, linear solution kept: {reason}"
        linear = classical("wiener")(problem, tile, seed, AS_CONFIGURED)
        return dataclasses.replace(linear, attempts=attempts, note=note, training_seconds=seconds)
    with phase("estimate"):
        f, errors = corrected_f(problem, tile, trained.state, trained.origin)
        estimate = _estimate(problem, tile, f)
    return Solution(
        estimate=estimate,
        training_seconds=seconds,
        inference_seconds=time.perf_counter() - started - seconds,
        method="network",
        attempts=attempts,
        steps=trained.steps,
        heldout_before=trained.before,
        heldout_after=float(errors.mean()),
        heldout_wiener=wiener,
        errors=errors,
        trace=trained.trace,
        model=pack(problem, trained.state),
        invert=_invert(problem, tile, f),
    )


def _apply_shared(problem: Problem, tile: TileTensors, state: State, wiener: float, model: Model | None) -> Solution:
    if problem.config.training.select == "network":  # tiles agree with the whole plane
        f = plain_f(problem, tile, state, None)
        errors = heldout_errors(problem, tile, f(tile.masked, tile.observed))
    else:
        f, errors = corrected_f(problem, tile, state, None)
    heldout = float(errors.mean())
    return Solution(
        estimate=_estimate(problem, tile, f),
        method="network",
        heldout_before=heldout,
        heldout_after=heldout,
        heldout_wiener=wiener,
        errors=errors,
        model=model,
        invert=_invert(problem, tile, f),
        note="" if heldout < wiener else "the shared model is no better here than the linear solution",
    )


def _estimate(problem: Problem, tile: TileTensors, f: F) -> NDArray[np.float32]:
    """Return the estimate of a tile, raw units: at inference no pixel is hidden."""
    return raw_estimate(problem.calibration, f(tile.whole, tile.observed))


def _invert(problem: Problem, tile: TileTensors, f: F) -> Callable[[Tensor, Tensor], Tensor]:
    """Return f as a function of an image and its observed pixels."""
    return lambda image, observed: f(LinearPart(problem.linear, image, tile.gaps), observed)
