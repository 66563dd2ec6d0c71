"""Judge an estimate without the truth: metrics of a tile that need the inverse itself, not its estimate alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssi_pipeline.inversion.masking import HOLDOUT, Stream, generator, hide
from ssi_pipeline.inversion.problem import Problem, TileTensors
from ssi_pipeline.quality.background import background_structure
from ssi_pipeline.quality.residual import chi_squared, white_noise_level, whiteness

Invert = Callable[[Tensor, Tensor], Tensor]
"""f: from an image, (z) y x, normalised, and where it was observed, to the estimate."""

EXCESS = "heldout_excess"
"""Name of the score that estimates E (g f - g x)^2 from hidden pixels."""

_MASKS = 4

_TAU = 0.5
"""Share of the noise's deviation that is added to what f sees; what judges it gets 1 / tau times as much taken away."""

_LEAST_VARIANCE = 1e-9
"""Below this the noise is not known, in normalised units squared."""

_FLOOR = 0.05
"""Share of the tile's median variance below which no pixel's is taken to be: the estimate of it is not exact."""


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of a tile on the pixels that g predicts, normalised units squared; ``known``: not zero."""

    variance: Tensor
    known: bool


@torch.no_grad()
def blind_metrics_of(
    problem: Problem, tile: TileTensors, invert: Invert, estimate: Tensor, seed: int, inside: Tensor | None = None
) -> dict[str, float]:
    """Return the metrics of an estimate, by name; those that cannot be told are left out.

    Parameters
    ----------
    invert
        What made the estimate: it is asked again, for images with hidden pixels or more noise.
    estimate
        invert(y), (z) y x, normalised.
    inside
        True at the pixels, (z) y x, that are judged; None: all. A halo is thrown away, its troubles are other tiles'.

    Returns
    -------
    scores
        ``heldout_excess`` and ``r2r_risk``, normalised units squared, estimate E (g f - g x)^2 for f of an image
        with hidden pixels, or more noise; ``whiteness``, 0 where the residual is white; ``chi2``, 1 where the
        residual is as large as the noise; ``background`` and
        ``background_deviation``, normalised units; ``impulses``, a share of the pixels.
    """
    window = torch.ones_like(tile.observed) if inside is None else inside
    noise, judged = noise_of(problem, tile), tile.usable & window
    found = {EXCESS: heldout_excess(problem, tile, invert, seed, noise, judged)}
    if noise.known:
        found["r2r_risk"] = _split_risk(problem, tile, invert, seed, noise, judged)
    found |= _residual_scores(problem, tile, estimate, noise, window)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def noise_of(problem: Problem, tile: TileTensors) -> Noise:
    """Return the noise at the level of the linear solution: the same for all estimates that are compared."""
    level = problem.forward.level(problem.linear(tile.y)[1])
    variance = problem.forward.sensor.variance(level)
    typical = float(variance.median())
    return Noise(variance.clamp(min=max(_FLOOR * typical, 1e-12)), typical > _LEAST_VARIANCE)


def disjoint_masks(tile: TileTensors, seed: int) -> Iterator[Tensor]:
    """Yield up to four masks J of a share ``HOLDOUT`` of the pixels each; no two share a pixel, the first is V."""
    drawn = torch.rand(tuple(tile.y.shape), generator=generator(seed, Stream.HELDOUT))
    for k in range(min(_MASKS, int(1 / HOLDOUT))):
        yield ((drawn >= k * HOLDOUT) & (drawn < (k + 1) * HOLDOUT)).to(tile.y.device)


def heldout_excess(
    problem: Problem, tile: TileTensors, invert: Invert, seed: int, noise: Noise, usable: Tensor
) -> float:
    """Mean over J of (g f(m_J y) - y)^2 on J, less the variance of the noise."""
    masking, forward = problem.config.masking, problem.forward
    losses = []
    for k, mask in enumerate(disjoint_masks(tile, seed)):
        judged = forward.crop(mask & usable)
        if not bool(judged.any()):
            continue
        expected = float(noise.variance[judged].double().mean()) if noise.known else 0.0
        hidden = hide(tile.y, mask, masking, generator(seed, Stream.METRICS, k), tile.gaps)
        error = forward(invert(hidden, tile.observed & ~mask)) - forward.crop(tile.y)
        losses.append(float(error[judged].double().square().mean()) - expected)
    return sum(losses) / len(losses) if losses else math.nan


def _split_risk(problem: Problem, tile: TileTensors, invert: Invert, seed: int, noise: Noise, usable: Tensor) -> float:
    """R2R (Pang et al. 2021): f sees y + tau s N and is judged by y - s N / tau, whose errors are independent.

    E (g f(y1) - y2)^2 = E (g f(y1) - g x)^2 + s^2 (1 + 1 / tau^2); the latter is taken away. Unlike the
    masks it judges all pixels, but at a higher noise, and it needs the noise's variance.
    """
    forward = problem.forward
    deviation = torch.zeros_like(tile.y)
    forward.crop(deviation).copy_(noise.variance.sqrt())
    extra = deviation * torch.randn(tuple(tile.y.shape), generator=generator(seed, Stream.SPLIT)).to(tile.y)
    error = forward(invert(tile.y + _TAU * extra, tile.observed)) - forward.crop(tile.y - extra / _TAU)
    judged = forward.crop(usable)
    added = (1 + _TAU**-2) * noise.variance[judged].double()
    return float((error[judged].double().square() - added).mean())


def _residual_scores(
    problem: Problem, tile: TileTensors, estimate: Tensor, noise: Noise, window: Tensor
) -> dict[str, float]:
    forward = problem.forward
    measured = forward.crop(tile.y)
    residual = _numpy((measured - forward(estimate)) / noise.variance.sqrt())
    seen = forward.crop(tile.usable & window).cpu().numpy()
    observed = int((tile.observed & window).sum())
    found = {
        "whiteness": whiteness(residual, seen) - white_noise_level(seen),
        "impulses": float((tile.observed & window & ~tile.usable).sum()) / observed if observed else math.nan,
    }
    if not noise.known:
        return found
    inside = (_numpy(measured), _numpy(forward.crop(estimate)), _numpy(noise.variance))
    structure, deviation = background_structure(*inside, seen)
    chi2 = chi_squared(residual, seen)
    return found | {"chi2": chi2, "background": structure, "background_deviation": deviation}


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().cpu().numpy()
    return array
