"""Tune the parameter of a classical solver without ground truth, by the masked self-supervised loss.

Pixels V of a sample are hidden, and the estimate x from the other pixels has to predict them: the loss is the mean over
V of (mu(g x) - y)^2 over the variance of the noise. It ranks estimates as their distance to the noise-free measurement
does, since they are independent of the noise on V (Batson and Royer 2019, J-invariant calibration).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.inversion.classical.observation import Observation, observe
from ssi_pipeline.inversion.classical.registry import CLASSICAL
from ssi_pipeline.inversion.masking import Stream, generator, heldout_share
from ssi_pipeline.inversion.measurement import Measurement, observed_box, to_tensor
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.inversion.surroundings import mirror_outside
from ssi_pipeline.methods import SOLVERS

_HIDDEN = 0.05
"""Share of pixels hidden by one mask: few enough that most neighbours remain."""

_TRIALS = 4
"""Number of masks, each on a different part where there are enough."""

_MOST_TRIALS = 8
"""Most masks where the noise is correlated, so that each hides fewer pixels to judge."""

_PART = {2: (256, 256), 3: (24, 96, 96)}
"""Largest size of a part by number of axes, (z) y x: tuning on four takes seconds."""

_LEAST_HIDDEN = 16
"""Fewest hidden pixels of a trial."""


_LEAST_SHARE = 1e-3
"""Least detected share of a pixel's light in local means: it is small at the border only."""

_TAU = 1.0
"""tau of R2R. The loss compares after the PSF, which hides fine noise, and favours sharp estimates; twice the noise
counters it: on six kinds of correlation better by 0.2 dB than 0.5, of the blind metrics, and never worse by more."""

_SPLIT = 1000
"""Index of the noise of R2R in the stream of tuning, beyond those of masks."""

_LOCAL = 2.0
"""Standard deviation in pixels of the local mean at which the noise is drawn."""

_Part = tuple[Measurement, Tensor, Tensor, Tensor | None]
"""Sample, and a part of it: image, observed pixels, gaps."""


_OUTLIER = 5.0
"""Errors count up to so many standard deviations of the noise, or median errors of the smoothest candidate if these are
larger: a few pixels of a bead, which no smoothing predicts, would choose the weight for the whole channel."""


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

    @property
    def end(self) -> str | None:
        """The end of the candidates that is the best of them, 'smoothest' or 'sharpest'; None: neither."""
        if len(self.losses) < 2 or self.losses[0] == self.losses[-1]:
            return None
        best = int(np.argmin(self.losses))
        return {0: "smoothest", len(self.losses) - 1: "sharpest"}.get(best)


@dataclass(frozen=True, slots=True)
class _Trial:
    """One mask on one part of a sample, with the PSF of its place."""

    problem: Problem
    observation: Observation
    y: Tensor
    scored: Tensor
    """On the predicted pixels: hidden (or all of independent noise), observed and no impulse."""
    precision: Tensor
    """Inverse standard deviation of the noise at each of them, relative to the least."""


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
    masked = _choose(problem, name, list(_trials(problem, samples)))
    if problem.calibration.correlation is None:
        return masked
    split = _choose(problem, name, list(_recorrupted(problem, samples)))
    # an underestimated correlation makes either favour sharp estimates: take the smoother of the two
    ranks = [int(np.argmin(choice.losses)) if choice.losses else len(masked.losses) for choice in (masked, split)]
    return masked if ranks[0] <= ranks[1] else split


def _choose(problem: Problem, name: str, trials: Sequence[_Trial]) -> Choice:
    """Return the parameter with the least loss over the trials."""
    solver = CLASSICAL[name]
    candidates: list[float] = []
    losses: list[float] = []
    for step in zip(*(solver.path(trial.problem, trial.observation) for trial in trials), strict=False):
        candidates.append(step[0][0])
        errors = _errors(trials, [estimate for _, estimate in step])
        if not losses:
            most = max(_OUTLIER * _dark_deviation(problem), _OUTLIER * float(errors.abs().median()))
        losses.append(float(errors.clamp(-most, most).square().mean()))
        if len(losses) - 1 - int(np.argmin(losses)) >= solver.patience:
            break
    if not losses:
        return Choice(next(solver.path(problem, _zeros(problem)))[0], (), ())
    weight = candidates[int(np.argmin(losses))] if SOLVERS[name].counts else _refined(candidates, losses)
    return Choice(weight, tuple(candidates), tuple(losses))


def _errors(trials: Sequence[_Trial], estimates: Sequence[Tensor]) -> Tensor:
    """Return the errors at the hidden pixels of all trials, relative to the noise: flat, float64."""
    return torch.cat(
        [
            ((trial.problem.forward(estimate) - trial.y)[trial.scored] * trial.precision).double()
            for trial, estimate in zip(trials, estimates, strict=True)
        ]
    )


def _dark_deviation(problem: Problem) -> float:
    """Return the standard deviation of the noise at the dark level, normalised."""
    sensor = problem.forward.sensor
    return float(sensor.deviation(torch.tensor(sensor.dark, dtype=torch.float64)))


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
    share = min(_HIDDEN, heldout_share(problem.footprint))
    trials = min(math.ceil(_TRIALS * _HIDDEN / share), _MOST_TRIALS)
    parts = _drawn(parts, trials)
    each = -(-trials // len(parts))
    for number, (sample, y, observed, gaps) in enumerate(parts):
        here = problem.at(sample.place)
        usable = observe(here, y, observed).known
        draw = torch.rand(y.shape, generator=generator(number, Stream.TUNING))
        for index in range(each):
            mask = (draw >= index * share) & (draw < (index + 1) * share)
            # index 0 is the stream of the masks: values drawn from it would depend on the mask
            image = here.hide(y, mask, generator(number, Stream.TUNING, 1 + index), gaps)
            scored = here.forward.crop(mask & usable)
            if int(scored.sum()) >= _LEAST_HIDDEN:
                shown = problem.remaining(observed, mask)
                given = observe(here, image, shown)
                yield _Trial(here, given, here.forward.crop(y), scored, _precision(here, given)[scored])


def _recorrupted(problem: Problem, samples: Sequence[Measurement]) -> Iterator[_Trial]:
    """Yield the trials of correlated noise without masks: a measurement split in two of independent noise (R2R).

    With more noise n of the same correlation, y + tau n and y - n / tau have independent noise (Pang et al. 2021). What
    masks hide with each pixel makes their estimates worse, and sharper ones preferable: measured on three kinds of
    correlation, two scenes each, total variation chosen by splits was better by 0 to 6 dB.
    """
    sensor = problem.forward.sensor
    parts = [part for sample in samples for part in _cut(problem, sample)]
    for number, (sample, y, observed, gaps) in enumerate(_drawn(parts, _TRIALS)):
        here = problem.at(sample.place)
        level = ndimage.gaussian_filter(y.numpy(), (0,) * (y.ndim - 2) + (_LOCAL, _LOCAL))
        drawn = problem.noise(tuple(y.shape), generator(number, Stream.TUNING, _SPLIT))
        noise = drawn * sensor.variance(torch.from_numpy(level)).sqrt()
        usable = here.forward.crop(observe(here, y, observed).known)
        if int(usable.sum()) >= _LEAST_HIDDEN:
            given = observe(here, mirror_outside(y + _TAU * noise, gaps), observed)
            yield _Trial(here, given, here.forward.crop(y - noise / _TAU), usable, _precision(here, given)[usable])


def _precision(problem: Problem, given: Observation) -> Tensor:
    """Return 1 / s at the predicted pixels, relative to the noise in the dark: at most 1, and 1 where alpha is 0.

    s is the noise at a level averaged twice over the PSF, from the image without the hidden pixels.
    """
    forward, image = problem.forward, problem.forward.crop(given.repaired)
    share = forward.adjoint(torch.ones_like(image)).clamp(min=_LEAST_SHARE)
    level = forward.level(forward.adjoint(image) / share)
    sensor = forward.sensor
    return _dark_deviation(problem) / sensor.deviation(level)


def _drawn(parts: Sequence[_Part], count: int) -> list[_Part]:
    """Return at most ``count`` of the parts, in their order."""
    rng = np.random.default_rng(int(Stream.TUNING))
    return [parts[i] for i in sorted(rng.choice(len(parts), min(count, len(parts)), replace=False))] if parts else []


def _cut(problem: Problem, sample: Measurement) -> Iterator[_Part]:
    """Yield the sample with equal parts of which enough can be predicted: y, observed, gaps, normalised, (z) y x.

    The padding around the observed pixels is cut off, unless less than half of the remaining pixels along an axis
    could then be predicted.
    """
    box, radius = observed_box(sample), problem.forward.radius
    if any(s.stop - s.start < 4 * r for s, r in zip(box[-len(radius) :], radius, strict=True)):
        box = (slice(None),) * 3
    normal = problem.calibration.normalised(sample.y[box])
    y, observed = to_tensor(normal, problem.axes), to_tensor(sample.observed[box], problem.axes)
    gaps = None if bool(observed.all()) else ~observed
    spans = [_spans(n, most, r) for n, most, r in zip(y.shape, _PART[problem.axes], radius, strict=True)]
    for window in product(*spans):
        part = y[window]
        if all(n > 2 * r for n, r in zip(part.shape, radius, strict=True)):
            yield sample, part, observed[window], None if gaps is None else gaps[window]


def _spans(n: int, most: int, radius: int) -> list[slice]:
    """Return equal parts of an axis, of at most ``most`` pixels unless less than half of that could be predicted."""
    count = max(1, min(-(-n // most), n // (2 * radius + most // 2)))
    edges: Ints = tuple(int(e) for e in np.linspace(0, n, count + 1))
    return [slice(a, b) for a, b in pairwise(edges)]


def _zeros(problem: Problem) -> Observation:
    """Return an empty image as large as the PSF, from which ``path`` yields its first candidate."""
    zeros = torch.zeros(tuple(2 * r + 3 for r in problem.forward.radius))
    return Observation(zeros, torch.ones_like(zeros, dtype=torch.bool))
