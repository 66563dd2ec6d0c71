"""From a measurement to an estimate: which solver, how many attempts, and what if training fails."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssi_pipeline.config import PUBLISHED_SOLVERS, RunConfig
from ssi_pipeline.errors import ConfigError, TrainingError
from ssi_pipeline.inversion.calibration import ChannelCalibration, tile_weight
from ssi_pipeline.inversion.inverse import Inverse
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.measurement import Measurement, to_tensor, to_volume
from ssi_pipeline.inversion.models import Model, pack, unpack
from ssi_pipeline.inversion.problem import Problem, Tile, apply, heldout_errors, heldout_loss, pose, prepare
from ssi_pipeline.inversion.training import State, Trained, build_inverse, train
from ssi_pipeline.physics.psf import Psf

Method = Literal["network", "wiener", "constant", "identity", "published"]

_FEWEST_HELDOUT = 16
"""Held-out pixels without which no training can be judged."""


@dataclass(frozen=True, slots=True)
class Solution:
    """The estimate of one tile and how it came about.

    ``estimate``: float32, z y x, the domain's shape, raw units. ``heldout_*``: mean squared error of
    g f m_V(y) on the held-out pixels V, normalised units squared, None where not measured:
    ``before`` training, ``after`` it (of what was returned), and of the ``wiener`` solution on the same V.
    ``trace``: (step, training loss, held-out loss) at each validation of the attempt that was kept.
    ``note``: why it is not what was asked for, or empty. ``training_seconds``: of all attempts;
    ``inference_seconds``: of the estimate that was returned.
    """

    estimate: NDArray[np.float32]
    method: Method
    attempts: int = 0
    steps: int = 0
    heldout_before: float | None = None
    heldout_after: float | None = None
    heldout_wiener: float | None = None
    trace: list[tuple[int, float, float]] = field(default_factory=list)
    model: Model | None = None
    note: str = ""
    training_seconds: float = 0.0
    inference_seconds: float = 0.0


def solve(
    measurement: Measurement,
    psf: Psf | None,
    calibration: ChannelCalibration,
    config: RunConfig,
    seed: int,
    device: str,
    start: Model | None = None,
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

    Raises
    ------
    ConfigError
        ``start`` does not fit the configuration, or is missing where the scope needs it.
    """
    if config.solver == "identity":
        return Solution(measurement.y, "identity")
    if calibration.empty or _is_constant(measurement):
        return Solution(_of_constant(measurement, psf, calibration, config, device), "constant")
    if config.solver in PUBLISHED_SOLVERS:
        from ssi_pipeline.inversion.published import solve_published  # which itself returns a Solution

        return solve_published(measurement, psf, config, seed, device, masked=config.solver == "ssi_published")
    if config.solver == "ssi" and config.training.scope == "per_tile":
        weight = tile_weight(measurement, psf, calibration, config)
        calibration = dataclasses.replace(calibration, wiener_weight=weight)
    problem = pose(psf, calibration, config, device)
    tile = prepare(problem, measurement, seed)
    wiener = heldout_loss(problem, tile, tile.channels[1])
    if config.solver == "wiener" or int((tile.heldout & tile.usable).sum()) < _FEWEST_HELDOUT:
        note = "" if config.solver == "wiener" else "too few observed pixels to train on"
        return _wiener(problem, tile, wiener, 0, note)
    if start is None and config.training.scope != "per_tile":
        raise ConfigError(f"training.scope {config.training.scope} needs a shared model to start from")
    state = None if start is None else unpack(problem, start)
    if state is not None and config.training.scope == "shared":
        return _apply_shared(problem, tile, state, wiener, start)
    steps = config.training.fine_tune_steps if config.training.scope == "fine_tune" else config.training.steps
    return _train_or_fall_back(problem, tile, state, steps, wiener, seed)


def train_shared(
    measurements: Sequence[Measurement],
    psf: Psf | None,
    calibration: ChannelCalibration,
    config: RunConfig,
    seed: int,
    device: str,
    start: Model | None = None,
) -> Model:
    """Train one f on several tiles of a channel.

    Raises
    ------
    TrainingError
        Every attempt failed, or nothing but constant tiles was given.
    """
    seen = [m for m in measurements if not _is_constant(m)]
    if calibration.empty or not seen:
        raise TrainingError("every tile chosen for shared training is constant: there is nothing to learn from")
    problem = pose(psf, calibration, config, device)
    tiles = [prepare(problem, m, seed + i) for i, m in enumerate(seen)]
    tiles = [tile for tile in tiles if int((tile.heldout & tile.usable).sum()) >= _FEWEST_HELDOUT]
    if not tiles:
        raise TrainingError("no tile chosen for shared training has enough observed pixels")
    wiener = float(torch.cat([heldout_errors(problem, tile, tile.channels[1]) for tile in tiles]).mean())
    state = None if start is None else unpack(problem, start)
    trained, _, why = _attempts(problem, tiles, state, config.training.steps, wiener, seed)
    if trained is None:
        raise TrainingError(f"shared training failed {config.training.attempts} times: {why}")
    return pack(problem, trained.state)


def _attempts(
    problem: Problem, tiles: Sequence[Tile], start: State | None, steps: int, wiener: float, seed: int
) -> tuple[Trained | None, int, str]:
    """Train until an attempt ends better than the Wiener solution; returns it, the attempts made, the last failure."""
    why = ""
    for attempt in range(1, problem.config.training.attempts + 1):
        try:
            trained = train(problem, tiles, steps, seed, attempt, start, wiener)
            if not trained.after < wiener:
                raise TrainingError(f"held-out loss {trained.after:.4g}, of the Wiener solution {wiener:.4g}")
            return trained, attempt, ""
        except ConfigError:
            raise
        except TrainingError as error:
            why = str(error)
    return None, problem.config.training.attempts, why


def _train_or_fall_back(
    problem: Problem, tile: Tile, start: State | None, steps: int, wiener: float, seed: int
) -> Solution:
    started = time.perf_counter()
    trained, attempts, why = _attempts(problem, [tile], start, steps, wiener, seed)
    seconds = time.perf_counter() - started
    if trained is None:
        linear = _wiener(problem, tile, wiener, attempts, f"training failed, linear solution kept: {why}")
        return dataclasses.replace(linear, training_seconds=seconds)
    estimate = _network_estimate(problem, tile, trained.state)
    return Solution(
        estimate=estimate,
        training_seconds=seconds,
        inference_seconds=time.perf_counter() - started - seconds,
        method="network",
        attempts=attempts,
        steps=trained.steps,
        heldout_before=trained.before,
        heldout_after=trained.after,
        heldout_wiener=wiener,
        trace=trained.trace,
        model=pack(problem, trained.state),
    )


def _apply_shared(problem: Problem, tile: Tile, state: State, wiener: float, model: Model | None) -> Solution:
    heldout = heldout_loss(problem, tile, apply(problem, _inverse(problem, state), tile.channels))
    return Solution(
        estimate=_network_estimate(problem, tile, state),
        method="network",
        heldout_before=heldout,
        heldout_after=heldout,
        heldout_wiener=wiener,
        model=model,
        note="" if heldout < wiener else "the shared model is no better here than the linear solution",
    )


def _wiener(problem: Problem, tile: Tile, heldout: float, attempts: int, note: str) -> Solution:
    known = heldout if math.isfinite(heldout) else None
    started = time.perf_counter()
    estimate = _raw(problem.calibration, problem.linear(tile.y)[1])
    return Solution(
        estimate=estimate,
        inference_seconds=time.perf_counter() - started,
        method="wiener",
        attempts=attempts,
        heldout_before=known,
        heldout_after=known,
        heldout_wiener=known,
        note=note,
    )


def _inverse(problem: Problem, state: State) -> Inverse:
    return build_inverse(problem, generator(0), state)


def _network_estimate(problem: Problem, tile: Tile, state: State) -> NDArray[np.float32]:
    """Apply f to the whole image: nothing is hidden at inference."""
    return _raw(problem.calibration, apply(problem, _inverse(problem, state), problem.linear(tile.y)))


def _of_constant(
    measurement: Measurement, psf: Psf | None, calibration: ChannelCalibration, config: RunConfig, device: str
) -> NDArray[np.float32]:
    """The linear solution, without training; of an empty channel, which has no scale, the measurement itself."""
    if calibration.empty:
        return measurement.y
    problem = pose(psf, calibration, config, device)
    normal = ((measurement.y - calibration.offset) / calibration.scale).astype(np.float32)
    return _raw(calibration, problem.linear(to_tensor(normal, problem.axes, device))[1])


def _is_constant(measurement: Measurement) -> bool:
    seen = measurement.y[measurement.observed]
    return seen.size == 0 or bool(seen.min() == seen.max())


def _raw(calibration: ChannelCalibration, estimate: Tensor) -> NDArray[np.float32]:
    return (to_volume(estimate) * calibration.scale + calibration.offset).astype(np.float32)
