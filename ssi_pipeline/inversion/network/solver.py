"""The solver that trains: how many attempts, and what if training fails."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssi_pipeline.errors import ConfigError, TrainingError
from ssi_pipeline.inversion.classical.solver import classical
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.network.batches import Schedule
from ssi_pipeline.inversion.network.checkpoint import Model, pack, unpack
from ssi_pipeline.inversion.network.inverse import compose
from ssi_pipeline.inversion.network.training import OnState, State, Trained, build_inverse, train
from ssi_pipeline.inversion.problem import Problem, TileTensors, apply, heldout_errors, heldout_loss, make_tile_tensors
from ssi_pipeline.inversion.solution import Solution, raw_estimate
from ssi_pipeline.inversion.solver import AS_CONFIGURED, OnValidation, SolveOptions

_FEWEST_HELDOUT = 16
"""Held-out pixels without which no training can be judged."""


def enough_heldout(tile: TileTensors) -> bool:
    """Whether there are pixels enough to judge a solution by."""
    return int((tile.heldout & tile.usable).sum()) >= _FEWEST_HELDOUT


def solve_by_network(
    problem: Problem,
    tile: TileTensors,
    seed: int,
    options: SolveOptions = AS_CONFIGURED,
    watch: OnValidation | None = None,
) -> Solution:
    """Train f on the tile, from ``options.start`` if given; with scope 'shared' apply that model as it is.

    ``watch`` sees each validation of each attempt; it must not change the state of any generator.

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
        return _apply_shared(problem, tile, state, wiener, start)
    steps = training.fine_tune_steps if training.scope == "fine_tune" else training.steps
    schedule = Schedule(options.step_factor * steps, options.batch or training.batch)
    return _train_or_fall_back(problem, tile, state, schedule, wiener, seed, watch)


def train_shared(problem: Problem, measurements: Sequence[Measurement], seed: int, start: Model | None = None) -> Model:
    """Train one f on several tiles of a channel.

    Raises
    ------
    TrainingError
        Every attempt failed, or nothing but constant tiles was given.
    """
    seen = [m for m in measurements if not m.is_constant]
    if problem.calibration.empty or not seen:
        raise TrainingError("every tile chosen for shared training is constant: there is nothing to learn from")
    tiles = [make_tile_tensors(problem, m, seed + i) for i, m in enumerate(seen)]
    tiles = [tile for tile in tiles if enough_heldout(tile)]
    if not tiles:
        raise TrainingError("no tile chosen for shared training has enough observed pixels")
    wiener = float(torch.cat([heldout_errors(problem, tile, tile.channels[1]) for tile in tiles]).mean())
    state = None if start is None else unpack(problem, start)
    training = problem.config.training
    trained, _, why = _attempts(problem, tiles, state, Schedule.of(training), wiener, seed)
    if trained is None:
        raise TrainingError(f"shared training failed {training.attempts} times: {why}")
    return pack(problem, trained.state)


def _attempts(
    problem: Problem,
    tiles: Sequence[TileTensors],
    start: State | None,
    schedule: Schedule,
    wiener: float,
    seed: int,
    watch: OnState | None = None,
) -> tuple[Trained | None, int, str]:
    """Train until an attempt ends better than the Wiener solution; returns it, the attempts made, the last failure."""
    why = ""
    for attempt in range(1, problem.config.training.attempts + 1):
        try:
            trained = train(problem, tiles, schedule, seed, attempt, start, wiener, watch)
            if not trained.after < wiener:
                raise TrainingError(f"held-out loss {trained.after:.4g}, of the Wiener solution {wiener:.4g}")
            return trained, attempt, ""
        except ConfigError:
            raise
        except TrainingError as error:
            why = str(error)
    return None, problem.config.training.attempts, why


def _train_or_fall_back(
    problem: Problem,
    tile: TileTensors,
    start: State | None,
    schedule: Schedule,
    wiener: float,
    seed: int,
    watch: OnValidation | None,
) -> Solution:
    def with_estimate(step: int, state: State) -> None:
        """Hand on the step and, for who asks for it, the estimate at it."""
        if watch is not None:
            watch(step, lambda: _network_estimate(problem, tile, state))

    started = time.perf_counter()
    trained, attempts, why = _attempts(problem, [tile], start, schedule, wiener, seed, with_estimate)
    seconds = time.perf_counter() - started
    if trained is None:
        note = f"training failed, linear solution kept: {why}"
        linear = classical("wiener")(problem, tile, seed, AS_CONFIGURED)
        return dataclasses.replace(linear, attempts=attempts, note=note, training_seconds=seconds)
    estimate = _network_estimate(problem, tile, trained.state)
    return Solution(
        estimate=estimate,
        training_seconds=seconds,
        inference_seconds=time.perf_counter() - started - seconds,
        method="network",
        attempts=attempts,
        steps=trained.steps,
        heldout_before=trained.before,
        heldout_after=heldout_loss(problem, tile, _averaged(problem, tile.channels, trained.state)),
        heldout_wiener=wiener,
        trace=trained.trace,
        model=pack(problem, trained.state),
        invert=_invert(problem, trained.state),
    )


def _apply_shared(problem: Problem, tile: TileTensors, state: State, wiener: float, model: Model | None) -> Solution:
    heldout = heldout_loss(problem, tile, _averaged(problem, tile.channels, state))
    return Solution(
        estimate=_network_estimate(problem, tile, state),
        method="network",
        heldout_before=heldout,
        heldout_after=heldout,
        heldout_wiener=wiener,
        model=model,
        invert=_invert(problem, state),
        note="" if heldout < wiener else "the shared model is no better here than the linear solution",
    )


def _network_estimate(problem: Problem, tile: TileTensors, state: State) -> NDArray[np.float32]:
    """Apply f to the whole image: nothing is hidden at inference."""
    return raw_estimate(problem.calibration, _averaged(problem, problem.linear(tile.y), state))


def _invert(problem: Problem, state: State) -> Callable[[Tensor, Tensor], Tensor]:
    """Return f as a function of an image; where it was observed does not matter to a network."""
    return lambda image, observed: _averaged(problem, problem.linear(image), state)  # noqa: ARG005


def _averaged(problem: Problem, channels: Tensor, state: State) -> Tensor:
    """Evaluate f, channels 2 x (z) y x to (z) y x, on average over the symmetries of g.

    Under these the inverse sought is the same, and what training left to chance is not. Each costs as much as one
    evaluation, 8 (2D) or 16 in all, so a shared f, which trains on many tiles at once, goes without.
    """
    config, inverse = problem.config, build_inverse(problem, generator(0), state)
    flips = problem.forward.symmetries if config.training.scope != "shared" else []
    total = torch.zeros_like(channels[0])
    for chosen in itertools.chain.from_iterable(itertools.combinations(flips, n) for n in range(len(flips) + 1)):
        total += compose(chosen[::-1], apply(inverse, compose(chosen, channels)))
    return total.div_(2 ** len(flips))
