"""The training loop: one flat function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssi_pipeline.errors import TrainingError
from ssi_pipeline.inversion.batches import Batches
from ssi_pipeline.inversion.inverse import Inverse
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.problem import Problem, Tile, apply, autocast, heldout_loss

_WARM_UP = 0.05
"""Share of the steps over which the rate rises; then it falls along half a cosine."""

_TRAINING_STREAM = 3

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Trained:
    """The best averaged parameters of one training, and how it went.

    ``trace``: (step, training loss, held-out loss), the training loss as configured, the held-out
    loss in normalised units squared. ``before``: held-out loss at step 0; ``best``: of ``state``.
    """

    state: State
    trace: list[tuple[int, float, float]]
    steps: int
    before: float
    best: float


def train(problem: Problem, tiles: Sequence[Tile], steps: int, seed: int, attempt: int, start: State | None) -> Trained:
    """Train f on one or several tiles, by Adam on the masked loss.

    The result depends on the arguments alone. The device is waited for at validations only.

    Raises
    ------
    TrainingError
        A loss is not finite.
    """
    training = problem.config.training
    rng = generator(seed, _TRAINING_STREAM, attempt)
    inverse = build_inverse(problem, rng, start)
    batches = Batches(problem, tiles, rng)
    optimiser = torch.optim.Adam(inverse.parameters(), lr=training.learning_rate)
    average, best_state = _copy(inverse.state_dict()), _copy(inverse.state_dict())
    before = best = validate(problem, tiles, inverse, average)
    trace, best_step, running = [(0, math.nan, before)], 0, torch.zeros((), device=problem.device)
    for step in range(1, steps + 1):
        batch = batches.draw()
        with autocast(problem):
            estimate = inverse(batch.x)  # b (z) y x
        estimate = batch.unflip(estimate.float())
        data = problem.objective.data(problem.forward(estimate), batch.y, batch.hidden)
        loss = data + problem.objective.penalty(estimate, inverse.parameters())
        optimiser.param_groups[0]["lr"] = training.learning_rate * _rate(step, steps)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        _update(average, inverse, min(training.ema, step / (step + 9)))
        running += data.detach()
        if step % training.validate_every and step < steps:
            continue
        heldout = validate(problem, tiles, inverse, average)  # waits for the device
        trace.append((step, float(running) / (step - trace[-1][0]), heldout))
        running.zero_()
        if not (math.isfinite(heldout) and math.isfinite(trace[-1][1])):
            raise TrainingError(f"the loss is not finite at step {step}")
        if heldout < best:
            best, best_step, best_state = heldout, step, _copy(average)
        elif step - best_step >= training.patience * training.validate_every:
            break
    return Trained({name: p.cpu() for name, p in best_state.items()}, trace, trace[-1][0], before, best)


def build_inverse(problem: Problem, rng: torch.Generator, start: State | None = None) -> Inverse:
    """Build f on the problem's device, untrained or with the parameters ``start``."""
    inverse = Inverse(problem.config.network, problem.axes, rng)
    if start is not None:
        inverse.load_state_dict(start)
    return inverse.to(problem.device)


def validate(problem: Problem, tiles: Sequence[Tile], inverse: Inverse, state: State) -> float:
    """Return the mean held-out loss of f with the parameters ``state``; its own are put back."""
    current = _copy(inverse.state_dict())
    inverse.load_state_dict(state)
    losses = [heldout_loss(problem, tile, apply(problem, inverse, tile.channels)) for tile in tiles]
    inverse.load_state_dict(current)
    return float(torch.stack(losses).mean())


def _rate(step: int, steps: int) -> float:
    """Share of the peak rate: a linear rise, then half a cosine to zero."""
    warm = max(1.0, _WARM_UP * steps)
    if step < warm:
        return step / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


def _copy(state: State) -> State:
    return {name: p.detach().clone() for name, p in state.items()}


@torch.no_grad()
def _update(average: State, inverse: Inverse, decay: float) -> None:
    for name, p in inverse.state_dict().items():
        average[name].lerp_(p, 1 - decay)
