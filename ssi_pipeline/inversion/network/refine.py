"""Train the network to correct a classical estimate, where that predicts the held-out pixels better than the network.

The classical estimate t of the image is the third input of f and its base: f starts at t. It is computed anew from each
masked image, so that f knows nothing of the hidden pixels.
"""

from __future__ import annotations

import dataclasses
import time

from ssi_pipeline.errors import TrainingError
from ssi_pipeline.inversion.network.batches import Schedule
from ssi_pipeline.inversion.network.inputs import Inputs
from ssi_pipeline.inversion.network.solver import averaged
from ssi_pipeline.inversion.network.training import train
from ssi_pipeline.inversion.problem import Problem, TileTensors, heldout_loss
from ssi_pipeline.inversion.solution import Solution, raw_estimate
from ssi_pipeline.inversion.solver import SolveOptions

_SHARE = 0.5
"""Share of the steps of a training from scratch."""


def refined(
    problem: Problem, tile: TileTensors, seed: int, training_seed: int, baseline: Solution, options: SolveOptions
) -> Solution | None:
    """Return the solution of a network that corrects a baseline; None where it predicts V no better.

    Parameters
    ----------
    problem, tile
        Inverse problem of the channel, and the tile.
    seed, training_seed
        Seeds of the tile, and of the training.
    baseline
        Solution of a classical solver, with its held-out loss.
    options
        Deviations from the configuration.
    """
    if baseline.invert is None or baseline.heldout_after is None:
        return None
    started = time.perf_counter()
    inputs, training = Inputs(problem, baseline.invert), problem.config.training
    own = dataclasses.replace(tile, channels=inputs.validation(tile, seed))
    steps = max(round(_SHARE * training.steps), 1)
    schedule = Schedule(options.step_factor * steps, options.batch or training.batch)
    try:
        trained = train(problem, [own], schedule, training_seed, 1, None, baseline.heldout_after, inputs=inputs)
    except TrainingError:
        return None
    loss = heldout_loss(problem, own, averaged(problem, own.channels, own.observed, trained.state))
    if not loss < baseline.heldout_after:
        return None
    seconds = time.perf_counter() - started
    whole = averaged(problem, inputs(tile.y, tile.observed, tile.gaps), tile.observed, trained.state)
    return Solution(
        estimate=raw_estimate(problem.calibration, whole),
        method="network",
        attempts=1,
        steps=trained.steps,
        heldout_before=baseline.heldout_after,
        heldout_after=loss,
        heldout_wiener=baseline.heldout_wiener,
        trace=trained.trace,
        training_seconds=seconds,
        inference_seconds=time.perf_counter() - started - seconds,
        invert=lambda image, observed: averaged(problem, inputs(image, observed, tile.gaps), observed, trained.state),
        alternative=baseline.estimate,
    )
