"""The training loop: one flat function."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssi_pipeline.errors import TrainingError
from ssi_pipeline.inversion.masking import Stream, generator
from ssi_pipeline.inversion.network.batches import Batches, Schedule
from ssi_pipeline.inversion.network.gradient_clipping import AdaptiveGradientClip
from ssi_pipeline.inversion.network.inverse import Inverse
from ssi_pipeline.inversion.problem import Problem, TileTensors, apply, autocast, heldout_errors

_WARM_UP = 0.05
"""Share of the steps over which the rate rises; then it falls along half a cosine."""

_BETAS = (0.9, 0.99)
"""Of Adam. With a memory of 1000 steps (0.999) for squared gradients, steps after a calm stretch are far too large."""

AVERAGING = 0.98
"""Of the moving average of the parameters, which is what is kept: a memory of 50 steps, from one validation to the
next, averages out what single masks and patches do."""

VALIDATE_EVERY = 50
"""Steps between validations, each of which evaluates f on the whole tile: about as long as a few steps take."""

PATIENCE = 8
"""Validations without a better state after which training stops: most of the default 500 steps, so that a calm
stretch before the rate falls ends no training; a flat one of thousands of steps ends early."""

State = dict[str, Tensor]

OnState = Callable[[int, State], None]
"""Called at each validation with the steps so far and the averaged parameters; it must leave both as they are."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The averaged parameters that were kept of one training, and how it went.

    ``trace``: (step, training loss, held-out loss), the training loss as configured, the held-out
    loss in normalised units squared. ``before``: held-out loss at step 0; ``after``: of ``state``.
    """

    state: State
    trace: list[tuple[int, float, float]]
    steps: int
    before: float
    after: float


class BestState:
    """Keeps the latest parameters that the held-out pixels cannot tell from the best ones.

    A few thousand noisy pixels rank states of one training poorly: the least loss is often an early
    one by luck (measured: 0.3 dB given away). A later state is kept unless its loss is higher than the least
    one by more than the standard error of their difference, pixel by pixel, or not below ``ceiling``.
    """

    def __init__(self, state: State, errors: Tensor, ceiling: float) -> None:
        self.state, self.step, self.loss = _copy(state), 0, float(errors.mean())
        self._errors, self._least, self._ceiling = errors, self.loss, ceiling

    def offer(self, state: State, errors: Tensor, step: int) -> float:
        """Consider a later state; returns its held-out loss."""
        loss = float(errors.mean())
        doubt = float((errors - self._errors).std()) / math.sqrt(errors.numel())
        if loss < self._least or (loss < self._ceiling and loss <= self._least + doubt):
            self.state, self.step, self.loss = _copy(state), step, loss
        if loss < self._least:
            self._errors, self._least = errors, loss
        return loss


def train(
    problem: Problem,
    tiles: Sequence[TileTensors],
    schedule: Schedule,
    seed: int,
    attempt: int,
    start: State | None,
    ceiling: float,
    watch: OnState | None = None,
) -> Trained:
    """Train f on one or several tiles, by Adam on the masked loss.

    The result depends on the arguments alone. The device is waited for at validations only.
    ``ceiling``: held-out loss of the linear solution, which the result has to beat to be of use.

    Raises
    ------
    TrainingError
        A loss is not finite.
    """
    training, steps = problem.config.training, schedule.steps
    rng = generator(seed, Stream.TRAINING, attempt)
    inverse = build_inverse(problem, rng, start)
    batches = Batches(problem, tiles, schedule, rng)
    optimiser = torch.optim.Adam(inverse.parameters(), lr=training.learning_rate, betas=_BETAS)
    limit = AdaptiveGradientClip(inverse.parameters(), problem.device)
    average = _copy(inverse.state_dict())
    kept = BestState(average, validate(problem, tiles, inverse, average), ceiling)
    before, trace, running = kept.loss, [(0, math.nan, kept.loss)], torch.zeros((), device=problem.device)
    if watch is not None:
        watch(0, average)
    for step in range(1, steps + 1):
        batch = batches.draw()
        with autocast(problem):
            estimate = inverse(batch.x)  # b (z) y x
        estimate = batch.unflip(estimate.float())
        data = problem.objective.data(batch.forward(estimate), batch.y, batch.hidden)
        loss = data + problem.objective.penalty(estimate, inverse.parameters())
        optimiser.param_groups[0]["lr"] = training.learning_rate * _rate(step, steps)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        limit.apply()
        optimiser.step()
        _update(average, inverse, min(AVERAGING, step / (step + 9)))
        running += data.detach()
        if step % VALIDATE_EVERY and step < steps:
            continue
        heldout = kept.offer(average, validate(problem, tiles, inverse, average), step)  # waits for the device
        trace.append((step, float(running) / (step - trace[-1][0]), heldout))
        running.zero_()
        if watch is not None:
            watch(step, average)
        if not (math.isfinite(heldout) and math.isfinite(trace[-1][1])):
            raise TrainingError(f"the loss is not finite at step {step}")
        if step - kept.step >= PATIENCE * VALIDATE_EVERY:
            break
    return Trained({name: p.cpu() for name, p in kept.state.items()}, trace, trace[-1][0], before, kept.loss)


def build_inverse(problem: Problem, rng: torch.Generator, start: State | None = None) -> Inverse:
    """Build f on the problem's device, untrained or with the parameters ``start``."""
    inverse = Inverse(problem.config.network, problem.axes, rng)
    if start is not None:
        inverse.load_state_dict(start)
    return inverse.to(problem.device)


def validate(problem: Problem, tiles: Sequence[TileTensors], inverse: Inverse, state: State) -> Tensor:
    """Return the squared errors on the held-out pixels of all tiles with the parameters ``state``; f's are put back."""
    current = _copy(inverse.state_dict())
    inverse.load_state_dict(state)
    errors = [heldout_errors(problem, tile, apply(inverse, tile.channels)) for tile in tiles]
    inverse.load_state_dict(current)
    return torch.cat(errors)


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
