"""Compute the blind metrics of an estimate: without ground truth, by evaluating the inverse again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssi_pipeline.inversion.masking import HELDOUT_SHARE, Stream, generator, heldout_share
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.inversion.surroundings import mirror_outside
from ssi_pipeline.inversion.tile import TileTensors
from ssi_pipeline.quality.background import background_structure
from ssi_pipeline.quality.residual import chi_squared, white_noise_level, whiteness

Invert = Callable[[Tensor, Tensor], Tensor]
"""The inverse f: from a normalised image and its observed pixels, both (z) y x, to the estimate."""

EXCESS = "heldout_excess"
"""Name of the metric that estimates E (g f - g x)^2 from hidden pixels."""

_MASKS = 4
"""Disjoint masks of a tile."""

_ENOUGH = 100_000
"""Hidden pixels over which the excess loss is averaged, as far as four masks have as many: then the noise of the mean
is 0.4 % of the noise's variance. Each mask after the first costs another solution."""

_TAU = 0.5
"""tau of R2R: f sees y + tau s N, and is compared with y - s N / tau."""

_LEAST_VARIANCE = 1e-9
"""Noise variance, squared normalised units, below which the noise counts as unknown."""

_FLOOR = 0.05
"""Lower bound of a pixel's noise variance, as a share of the tile's median: the estimate is not exact."""

_LEAST_LIGHT = 0.03
"""Largest noise of the sum of a tile's light, as a share of it: an estimate follows the sum far better than that."""


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of a tile.

    Attributes
    ----------
    variance
        Variance at the pixels that g predicts, (z) y x, squared normalised units.
    known
        The variance is not zero.
    """

    variance: Tensor
    known: bool


@torch.no_grad()
def blind_metrics_of(
    problem: Problem, tile: TileTensors, invert: Invert, estimate: Tensor, seed: int, inside: Tensor | None = None
) -> dict[str, float]:
    """Return the blind metrics of an estimate, by name; those that are undefined are left out.

    Parameters
    ----------
    problem, tile
        Inverse problem of the channel, and the tile.
    invert
        The inverse f that computed the estimate. It is evaluated on images with hidden pixels and with more noise.
    estimate
        invert(y), (z) y x, normalised.
    seed
        Seed of the tile.
    inside
        True at the pixels (z) y x to score; None: all. The halo is excluded, as its pixels are discarded.

    Returns
    -------
    scores
        ``heldout_excess`` and ``r2r_risk``: estimates of E (g f - g x)^2, squared normalised units, for f of an image
        with hidden pixels, and with more noise. ``whiteness``: 0 for a white residual. ``chi2``: 1 where the residual
        has the variance of the noise. ``light_ratio`` of the blurred estimate and the measurement, ``impulse_light``:
        share of the light in impulses. ``background`` and ``background_deviation``: normalised units. ``impulses``:
        share of pixels, 0 to 1.
    """
    window = torch.ones_like(tile.observed) if inside is None else inside
    noise, scored = noise_of(problem, tile), tile.usable & window
    found = {EXCESS: heldout_excess(problem, tile, invert, seed, noise, scored)}
    if noise.known:
        found["r2r_risk"] = _r2r_risk(problem, tile, invert, seed, noise, scored)
    found |= _residual_scores(problem, tile, estimate, noise, window)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def noise_of(problem: Problem, tile: TileTensors) -> Noise:
    """Return the noise at the level of the linear solution, which is common to all estimates that are compared."""
    level = problem.forward.level(tile.whole.channels[1])
    variance = problem.forward.sensor.variance(level)
    typical = float(variance.median())
    return Noise(variance.clamp(min=max(_FLOOR * typical, 1e-12)), typical > _LEAST_VARIANCE)


def disjoint_masks(tile: TileTensors, seed: int, share: float = HELDOUT_SHARE) -> Iterator[Tensor]:
    """Yield four disjoint masks J, each of a ``share`` of the pixels; with the share of V the first is V."""
    drawn = torch.rand(tuple(tile.y.shape), generator=generator(seed, Stream.HELDOUT))
    for k in range(min(_MASKS, int(1 / share))):
        yield ((drawn >= k * share) & (drawn < (k + 1) * share)).to(tile.y.device)


def heldout_excess(
    problem: Problem, tile: TileTensors, invert: Invert, seed: int, noise: Noise, usable: Tensor
) -> float:
    """Return the mean over J of (g f(m_J y) - y)^2 on J, minus the variance of the noise; NaN without usable pixels.

    As many J as give ``_ENOUGH`` pixels, and four at most.
    """
    forward, share = problem.forward, heldout_share(problem.footprint)
    enough = max(1, round(_ENOUGH / (share * tile.y.numel())))
    losses = []
    for k, mask in enumerate(islice(disjoint_masks(tile, seed, share), enough)):
        scored = forward.crop(mask & usable)
        if not bool(scored.any()):
            continue
        expected = float(noise.variance[scored].double().mean()) if noise.known else 0.0
        hidden = problem.hide(tile.y, mask, generator(seed, Stream.METRICS, k), tile.gaps)
        error = forward(invert(hidden, problem.remaining(tile.observed, mask))) - forward.crop(tile.y)
        losses.append(float(error[scored].double().square().mean()) - expected)
    return sum(losses) / len(losses) if losses else math.nan


def _r2r_risk(problem: Problem, tile: TileTensors, invert: Invert, seed: int, noise: Noise, usable: Tensor) -> float:
    """Return the recorrupted-to-recorrupted risk (R2R, Pang et al. 2021).

    The noise of y1 = y + tau s N and of y2 = y - s N / tau is independent, so that
    E (g f(y1) - y2)^2 = E (g f(y1) - g x)^2 + s^2 (1 + 1 / tau^2), and the last term is subtracted. Unlike masks it
    uses all pixels, but at a higher noise, and it needs the variance of the noise.
    """
    forward = problem.forward
    deviation = torch.zeros_like(tile.y)
    forward.crop(deviation).copy_(noise.variance.sqrt())
    extra = deviation * problem.noise(tuple(tile.y.shape), generator(seed, Stream.SPLIT)).to(tile.y)
    noisier = mirror_outside(tile.y + _TAU * extra, tile.gaps)
    error = forward(invert(noisier, tile.observed)) - forward.crop(tile.y - extra / _TAU)
    scored = forward.crop(usable)
    added = (1 + _TAU**-2) * noise.variance[scored].double()
    return float((error[scored].double().square() - added).mean())


def _residual_scores(
    problem: Problem, tile: TileTensors, estimate: Tensor, noise: Noise, window: Tensor
) -> dict[str, float]:
    forward = problem.forward
    measured = forward.crop(tile.y)
    residual = _numpy((measured - forward(estimate)) / noise.variance.sqrt())
    usable, seen = (forward.crop(m).cpu().numpy() for m in (tile.usable, tile.usable & window))
    if problem.calibration.correlation is not None:
        residual = problem.calibration.correlation.whiten(np.where(usable, residual, 0))
    observed = int((tile.observed & window).sum())
    found = {
        "whiteness": whiteness(residual, seen) - white_noise_level(seen),
        "impulses": float((tile.observed & window & ~tile.usable).sum()) / observed if observed else math.nan,
        **_light(problem, tile, estimate, noise, window),
    }
    if not noise.known:
        return found
    inside = (_numpy(measured), _numpy(forward.crop(estimate)), _numpy(noise.variance))
    structure, deviation = background_structure(*inside, seen)
    chi2 = chi_squared(residual, seen)
    return found | {"chi2": chi2, "background": structure, "background_deviation": deviation}


def _light(problem: Problem, tile: TileTensors, estimate: Tensor, noise: Noise, window: Tensor) -> dict[str, float]:
    """Return ``light_ratio`` and ``impulse_light``; nothing where the light is little more than its noise.

    The blurred estimate is compared, not the estimate, since light crosses the border of any region of it.
    """
    forward, dark = problem.forward, problem.forward.sensor.dark
    seen, usable = (forward.crop(mask & window) for mask in (tile.observed, tile.usable))
    light = (forward.crop(tile.y) - dark).double()
    total = float(light[usable].sum())
    if total <= 0 or float(noise.variance[usable].double().sum()) > (_LEAST_LIGHT * total) ** 2:
        return {}
    predicted = (forward(estimate) - dark)[usable].double()
    whole = float(light[seen].sum())
    return {"light_ratio": float(predicted.sum()) / total, "impulse_light": 1 - total / whole if whole > 0 else 0.0}


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().cpu().numpy()
    return array
