"""Train the inverse f: one flat loop."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssi_pipeline.errors import TrainingError
from ssi_pipeline.inversion.masking import Stream, generator
from ssi_pipeline.inversion.network.adam import Adam
from ssi_pipeline.inversion.network.backward import send_back
from ssi_pipeline.inversion.network.batches import Batches, Schedule
from ssi_pipeline.inversion.network.beyond import Beyond, beyond
from ssi_pipeline.inversion.network.gradient_clipping import AdaptiveGradientClip
from ssi_pipeline.inversion.network.inverse import Inverse
from ssi_pipeline.inversion.network.start import load_start
from ssi_pipeline.inversion.problem import Problem, apply, autocast
from ssi_pipeline.inversion.tile import TileTensors, heldout_errors
from ssi_pipeline.phases import Training, note_training

_WARM_UP = 0.05
"""Share of the steps over which the learning rate rises linearly; then it falls along half a cosine."""

_BETAS = (0.9, 0.99)
"""Betas of Adam. With 0.999 (a memory of 1000 steps) steps after a flat phase are far too large."""

AVERAGING = 0.98
"""Decay of the moving average of the parameters, which is the result: a memory of 50 steps, the interval of
validations, averages out the noise of single masks and patches."""

VALIDATE_EVERY = 50
"""Steps between validations, each of which evaluates f on the whole tile: as expensive as a few steps."""

_FEWEST_VALIDATIONS = 10
"""Validations of a training on many tiles: each evaluates f on all of them, as expensive as dozens of steps."""

PATIENCE = 8
"""Validations without a better state after which training stops: 400 of 600 to 1200 steps, so that a plateau before the
rate falls does not stop it; trainings of thousands of steps stop early."""

_PROBATION, _RECENT = 0.3, 0.2
"""Shares of the steps after which a training may be given up, and over which its loss must still have fallen by half of
what it lacks; its corrected estimate has to be beaten, too (docs/experiments.md)."""

SIGNIFICANT = 2.0
"""Standard errors by which two losses on V differ for certain: a few thousand noisy pixels know no better."""

State = dict[str, Tensor]

OnState = Callable[[int, State, State | None], None]
"""Callback at each validation: the number of steps, the averaged parameters, and ``Trained.origin``; it must not change
them."""

Concede = Callable[[State, State | None], bool]
"""Whether a rival beats the averaged parameters, with ``Trained.origin``, after all that is done with f's estimate."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of one training.

    Attributes
    ----------
    state
        Averaged parameters of the selected step.
    origin
        Parameters before training, which f keeps outside an image; None: it is its linear solution there.
    trace
        (step, training loss, held-out loss) at each validation, squared normalised units.
    steps
        Number of steps made.
    before, after
        Held-out loss at step 0, and of ``state``.
    """

    state: State
    origin: State | None
    trace: list[tuple[int, float, float]]
    steps: int
    before: float
    after: float


class BestState:
    """Selects the latest state whose held-out loss does not differ significantly from the least one.

    A few thousand noisy pixels rank states of one training poorly, and the least loss often occurs early by chance
    (measured: a loss of 0.3 dB). A later state is selected if its loss exceeds the least one by no more than the
    standard error of their pixelwise difference, and is below ``ceiling``.
    """

    def __init__(self, state: State, errors: Tensor, ceiling: float) -> None:
        self.state, self.step, self.loss = _copy(state), 0, float(errors.mean())
        self._errors, self._least, self._ceiling = errors, self.loss, ceiling

    def offer(self, state: State, errors: Tensor, step: int) -> float:
        """Compare a later state with the best one; return its held-out loss."""
        loss = float(errors.mean())
        standard_error = float((errors - self._errors).std()) / math.sqrt(errors.numel())
        if loss < self._least or (loss < self._ceiling and loss <= self._least + standard_error):
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
    on_state: OnState | None = None,
    rival: Tensor | None = None,
    concede: Concede | None = None,
) -> Trained:
    """Train f on one or several tiles by Adam on the masked loss.

    The result is a deterministic function of the arguments. The device is synchronised at validations only.

    Parameters
    ----------
    problem, tiles
        Inverse problem of the channel, and its tiles to train on.
    schedule
        Number of steps and patches per step.
    seed, attempt
        Seed of the tile and number of the attempt: together they determine all random numbers.
    start
        Initial parameters; None: those of the configuration (``training.start``).
    ceiling
        Held-out loss of the linear solution, which a useful result has to be below.
    on_state
        Callback at each validation.
    rival
        Squared errors on V to beat: training stops where it no longer can.
    concede
        Has to agree to that; None: it does.

    Raises
    ------
    TrainingError
        A loss is not finite.
    """
    rate, steps = problem.config.recipe.learning_rate, schedule.steps
    every = VALIDATE_EVERY if len(tiles) == 1 else max(VALIDATE_EVERY, steps // _FEWEST_VALIDATIONS)
    rng = generator(seed, Stream.TRAINING, attempt)
    inverse = build_inverse(problem, rng, start)
    if start is None:
        inverse.standardise([tile.inputs(tile.channels) for tile in tiles])
    origin = copy.deepcopy(inverse) if start is None and problem.config.recipe.simulated else None
    untrained = None if origin is None else _on_cpu(origin.state_dict())
    around = [beyond(origin, tile, tile.inputs(tile.channels)) for tile in tiles]
    batches = Batches(problem, tiles, schedule, rng, origin)
    optimiser = Adam(inverse.parameters(), _BETAS)
    clip = AdaptiveGradientClip(inverse.parameters(), problem.device)
    average = _copy(inverse.state_dict())
    kept = BestState(average, validate(problem, tiles, around, inverse, average), ceiling)
    before, trace, running = kept.loss, [(0, math.nan, kept.loss)], torch.zeros((), device=problem.device)
    note_training(Training(0, steps, kept.loss, ceiling))
    if on_state is not None:
        on_state(0, average, untrained)
    for step in range(1, steps + 1):
        batch = batches.draw()
        with autocast(problem):
            output = inverse(batch.x)  # b (z) y x
        estimate = batch.estimate(output.float())
        inverse.zero_grad(set_to_none=True)
        data = send_back(problem.objective, batch, estimate, inverse.parameters())
        clip.apply()
        optimiser.step(rate * _rate(step, steps))
        _update(average, inverse, min(AVERAGING, step / (step + 9)))
        running += data
        if step % every and step < steps:
            continue
        errors = validate(problem, tiles, around, inverse, average)  # synchronises the device
        heldout = kept.offer(average, errors, step)
        trace.append((step, float(running) / (step - trace[-1][0]), heldout))
        running.zero_()
        note_training(Training(step, steps, kept.loss, ceiling))
        if on_state is not None:
            on_state(step, average, untrained)
        if not (math.isfinite(heldout) and math.isfinite(trace[-1][1])):
            raise TrainingError(f"the loss is not finite at step {step}")
        if step - kept.step >= PATIENCE * every:
            break
        if is_beaten(trace, steps, errors, rival) and (concede is None or concede(average, untrained)):
            break
    return Trained(_on_cpu(kept.state), untrained, trace, trace[-1][0], before, kept.loss)


def is_beaten(trace: Sequence[tuple[int, float, float]], steps: int, errors: Tensor, rival: Tensor | None) -> bool:
    """Return whether a training of ``steps`` will hardly reach a rival with these squared errors on V.

    Its loss is significantly above, and twice its fall over the last fifth of the steps would not reach it.
    """
    step, _, loss = trace[-1]
    if rival is None or step < _PROBATION * steps or deviations(errors - rival) <= SIGNIFICANT:
        return False
    before = [past for at, _, past in trace if at <= step - _RECENT * steps]
    return bool(before) and loss - 2 * (before[-1] - loss) > float(rival.mean())


def deviations(differences: Tensor) -> float:
    """Return the mean of paired differences in standard errors of it; 0 where all are equal."""
    spread = float(differences.std()) / math.sqrt(differences.numel())
    return float(differences.mean()) / spread if spread > 0 else 0.0


def build_inverse(problem: Problem, rng: torch.Generator, start: State | None = None) -> Inverse:
    """Build f on the problem's device: with the parameters ``start``, or those that its training starts from."""
    inverse = Inverse(problem.config.network, problem.axes, rng)
    if start is not None:
        inverse.load_state_dict(start)
    elif problem.config.recipe.simulated:
        load_start(inverse.network)
    return inverse.to(problem.device)


def validate(
    problem: Problem, tiles: Sequence[TileTensors], around: Sequence[Beyond | None], inverse: Inverse, state: State
) -> Tensor:
    """Return the squared errors on the held-out pixels of all tiles with the parameters ``state``, flat.

    ``around``: f outside the image of each tile. The parameters of ``inverse`` are restored.
    """
    current = _copy(inverse.state_dict())
    inverse.load_state_dict(state)
    errors = []
    for tile, outer in zip(tiles, around, strict=True):
        estimate = apply(inverse, tile.inputs(tile.channels))
        errors.append(heldout_errors(problem, tile, estimate if outer is None else outer.around(estimate)))
    inverse.load_state_dict(current)
    return torch.cat(errors)


def _rate(step: int, steps: int) -> float:
    """Return the learning rate as a share of its peak: a linear rise, then half a cosine to zero."""
    warm = max(1.0, _WARM_UP * steps)
    if step < warm:
        return step / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


def _copy(state: State) -> State:
    return {name: p.detach().clone() for name, p in state.items()}


def _on_cpu(state: State) -> State:
    """Return parameters on the CPU, by one copy: each waits for the device."""
    flat = torch.cat([p.reshape(-1) for p in state.values()]).cpu()
    parts = torch.split(flat, [p.numel() for p in state.values()])
    return {name: values.reshape(p.shape) for (name, p), values in zip(state.items(), parts, strict=True)}


@torch.no_grad()
def _update(average: State, inverse: Inverse, decay: float) -> None:
    current = inverse.state_dict()
    torch._foreach_lerp_([average[name] for name in current], list(current.values()), 1 - decay)
