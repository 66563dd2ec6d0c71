"""Apply a trained f to a tile: averaged over the symmetries of g; and bounded, with the light of its image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ssi_pipeline.geometry.request import VOXELS_AT_ONCE
from ssi_pipeline.inversion.bounded import with_light_of
from ssi_pipeline.inversion.linear.positive import project
from ssi_pipeline.inversion.network.beyond import Beyond
from ssi_pipeline.inversion.network.inverse import Inverse, compose
from ssi_pipeline.inversion.network.pieces import evaluate
from ssi_pipeline.inversion.problem import Problem, apply


def averaged(problem: Problem, channels: Tensor, inverse: Inverse, beyond: Beyond | None = None) -> Tensor:
    """Evaluate f averaged over the symmetries of g: channels 2 x (z) y x to an estimate (z) y x, without a bound.

    The true inverse is equivariant under these, random errors of training are not. A shared f, which is trained on
    many tiles, is not averaged, since 8 (2D) or 16 evaluations are as many times slower. ``beyond``: f outside the
    image.
    """
    if problem.config.training.scope == "shared":
        return apply(inverse, channels)
    flips, total = problem.forward.symmetries, torch.zeros_like(channels[0])
    every = [chosen for n in range(len(flips) + 1) for chosen in itertools.combinations(flips, n)]
    at_once = 1 if problem.device == "cpu" else max(1, VOXELS_AT_ONCE // total.numel())
    estimates = _estimates(inverse, (compose(chosen, channels) for chosen in every), at_once)
    for chosen, estimate in zip(every, estimates, strict=True):
        total += compose(chosen[::-1], estimate)
    estimate = total.div_(2 ** len(flips))
    return estimate if beyond is None else beyond.around(estimate)


def finished(problem: Problem, image: Tensor, observed: Tensor, estimate: Tensor) -> Tensor:
    """Return a bounded estimate with the light of its image, all (z) y x.

    That of a shared f is cut off at the bound: without rivals its tiles must not differ from those of one evaluation of
    the whole plane.
    """
    if problem.config.training.scope == "shared":
        return estimate.clamp(min=problem.objective.low)
    return with_light(problem, image, observed, _bounded(problem, estimate, observed))


@torch.no_grad()
def _estimates(inverse: Inverse, images: Iterable[Tensor], at_once: int) -> Iterator[Tensor]:
    """Evaluate f on images of 2 x (z) y x, ``at_once`` of equal shape together, and yield their estimates in order."""
    for _, same in itertools.groupby(images, lambda image: image.shape):
        while batch := list(itertools.islice(same, at_once)):
            yield from evaluate(inverse, torch.stack(batch)) if len(batch) > 1 else [apply(inverse, batch[0])]


def _bounded(problem: Problem, estimate: Tensor, observed: Tensor) -> Tensor:
    """Return the feasible estimate whose measurement is nearest: there is no light below the dark level.

    Where nothing was measured it is cut off first: the projection would make up for it in the image beside.

    Training has a soft bound. Cutting its output off at the bound would add light, which the masked loss rejects: a
    network that cuts off starts with a larger loss than the linear solution, where the background is dark.
    """
    low = problem.objective.low
    seen = torch.where(observed, estimate, estimate.clamp(min=low))
    return project(problem.forward, seen, problem.calibration.wiener_weight, low)


def with_light(problem: Problem, image: Tensor, observed: Tensor, estimate: Tensor) -> Tensor:
    """Return an estimate scaled above the lower bound, so that it predicts the mean level of its image.

    The masked loss knows the mean of a tile of few photons to some percent only (measured: 3 % too much light at 1
    photon a pixel, with 1.5 electrons of read noise).
    """
    forward, floor = problem.forward, problem.objective.low
    seen = forward.crop(observed)
    if not bool(seen.any()):
        return estimate
    measured = float(forward.crop(image)[seen].mean(dtype=torch.float64))
    predicted = float(forward.level(estimate)[seen].mean(dtype=torch.float64))
    if not math.isfinite(floor):
        return estimate + (measured - predicted)
    return with_light_of(estimate, floor, measured - floor, predicted - floor)
