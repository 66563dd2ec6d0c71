"""Tune the parameter of a classical solver without ground truth, by the masked self-supervised loss.

Pixels V of a sample are hidden, and the estimate x from the other pixels has to predict them: the loss is the mean over
V of (mu(g x) - y)^2. It ranks estimates as their distance to the noise-free measurement does, since they are
independent of the noise on V (Batson and Royer 2019, J-invariant calibration).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import torch
from torch import Tensor

from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.inversion.classical.observation import Observation, observe
from ssi_pipeline.inversion.classical.registry import CLASSICAL
from ssi_pipeline.inversion.masking import Stream, generator, hide
from ssi_pipeline.inversion.measurement import Measurement, gaps_of, observed_box, to_tensor
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.methods import SOLVERS

_HIDDEN = 0.05
"""Share of pixels hidden by one mask: few enough that most neighbours remain."""

_TRIALS = 4
"""Number of masks, each on a different part where there are enough."""

_PART = {2: (256, 256), 3: (24, 96, 96)}
"""Largest size of a part by number of axes, (z) y x: tuning on four takes seconds."""

_LEAST_HIDDEN = 16
"""Fewest hidden pixels of a trial."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A tuned weight, with the candidates it was selected from.

    Attributes
    ----------
    weight
        Regularisation weight, or number of iterations.
    candidates
        Weights in the order tried, from the smoothest estimate.
    losses
        Masked loss of each candidate, squared normalised units. Both are empty where the samples are too small.
    """

    weight: float
    candidates: tuple[float, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Trial:
    """One mask on one part of a sample."""

    observation: Observation
    y: Tensor
    hidden: Tensor
    """On the predicted pixels: hidden, observed and no impulse."""


def tune(problem: Problem, name: str, samples: Sequence[Measurement]) -> Choice:
    """Tune the weight, or the number of iterations, of a classical solver by the masked loss.

    Parameters
    ----------
    problem
        Inverse problem of the channel, on the CPU; the ``weight`` of its calibration is not read.
    name
        Name of the solver in ``CLASSICAL``.
    samples
        Parts of the channel, raw units; one image is enough.
    """
    solver = CLASSICAL[name]
    trials = list(_trials(problem, samples))
    candidates: list[float] = []
    losses: list[float] = []
    for step in zip(*(solver.path(problem, trial.observation) for trial in trials), strict=False):
        candidates.append(step[0][0])
        losses.append(_loss(problem, trials, [estimate for _, estimate in step]))
        if len(losses) - 1 - int(np.argmin(losses)) >= solver.patience:
            break
    if not losses:
        return Choice(next(solver.path(problem, _zeros(problem)))[0], (), ())
    weight = candidates[int(np.argmin(losses))] if SOLVERS[name].counts else _refined(candidates, losses)
    return Choice(weight, tuple(candidates), tuple(losses))


def _loss(problem: Problem, trials: Sequence[_Trial], estimates: Sequence[Tensor]) -> float:
    """Return the mean squared error over the hidden pixels of all trials."""
    total, count = 0.0, 0
    for trial, estimate in zip(trials, estimates, strict=True):
        error = (problem.forward(estimate) - trial.y)[trial.hidden]
        total, count = total + float(error.double().square().sum()), count + error.numel()
    return total / count


def _refined(candidates: Sequence[float], losses: Sequence[float]) -> float:
    """Return the minimum of a parabola through the best candidate and its neighbours, over log weight."""
    best = int(np.argmin(losses))
    if best in (0, len(losses) - 1):
        return candidates[best]
    before, least, after = losses[best - 1 : best + 2]
    shift = 0.5 * (before - after) / max(before - 2 * least + after, 1e-30)
    ratio = candidates[best + 1] / candidates[best]
    return float(candidates[best] * ratio ** min(max(shift, -0.5), 0.5))


def _trials(problem: Problem, samples: Sequence[Measurement]) -> Iterator[_Trial]:
    """Yield at least four masks on parts of the samples; masks on the same part are disjoint."""
    parts = [part for sample in samples for part in _cut(problem, sample)]
    if not parts:
        return
    rng = np.random.default_rng(int(Stream.TUNING))
    parts = [parts[i] for i in sorted(rng.choice(len(parts), min(_TRIALS, len(parts)), replace=False))]
    each = -(-_TRIALS // len(parts))
    for number, (y, observed, gaps) in enumerate(parts):
        usable = observe(problem, y, observed).known
        draw = torch.rand(y.shape, generator=generator(number, Stream.TUNING))
        for index in range(each):
            mask = (draw >= index * _HIDDEN) & (draw < (index + 1) * _HIDDEN)
            # index 0 is the stream of the masks: values drawn from it would depend on the mask
            image = hide(y, mask, problem.config.masking, generator(number, Stream.TUNING, 1 + index), gaps)
            scored = problem.forward.crop(mask & usable)
            if int(scored.sum()) >= _LEAST_HIDDEN:
                yield _Trial(observe(problem, image, observed & ~mask), problem.forward.crop(y), scored)


def _cut(problem: Problem, sample: Measurement) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Yield equal parts of a sample that are larger than the PSF: (y, observed, gaps), normalised, (z) y x.

    The padding around the observed pixels is cut off, unless less than half of the remaining pixels along an axis
    could then be predicted.
    """
    box, radius = observed_box(sample), problem.forward.radius
    if any(s.stop - s.start < 4 * r for s, r in zip(box[-len(radius) :], radius, strict=True)):
        box = (slice(None),) * 3
    normal = problem.calibration.normalised(sample.y[box])
    y, observed = to_tensor(normal, problem.axes), to_tensor(sample.observed[box], problem.axes)
    inside = gaps_of(sample)
    gaps = None if inside is None else to_tensor(inside[box], problem.axes)
    spans = [_spans(n, most) for n, most in zip(y.shape, _PART[problem.axes], strict=True)]
    for window in product(*spans):
        part = y[window]
        if all(n > 2 * r for n, r in zip(part.shape, radius, strict=True)):
            yield part, observed[window], None if gaps is None else gaps[window]


def _spans(n: int, most: int) -> list[slice]:
    edges: Ints = tuple(int(e) for e in np.linspace(0, n, -(-n // most) + 1))
    return [slice(a, b) for a, b in pairwise(edges)]


def _zeros(problem: Problem) -> Observation:
    """Return an empty image as large as the PSF, from which ``path`` yields its first candidate."""
    zeros = torch.zeros(tuple(2 * r + 3 for r in problem.forward.radius))
    return Observation(zeros, torch.ones_like(zeros, dtype=torch.bool))
