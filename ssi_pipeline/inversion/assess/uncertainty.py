"""How far off an estimate may be, pixel by pixel: the disagreement of repeated predictions, without the truth.

The estimate x is taken for a truth that was measured again and again: y* = g(x) + noise, as the channel's noise is, and
f(y*) - x is an error that is known (the parametric bootstrap, Efron and Tibshirani 1993, chapter 6). It holds both what
noise does to f and what f smooths away. Two things it cannot see, which are added:

- A network that is worse on the real measurement than on simulated ones shows that on hidden pixels: the ratio of the
  two risks behind the PSF scales the map, never down.
- What the PSF has taken away is made up by the prior. Another prior makes up something else: its estimate's difference
  is added in quadrature.

All is averaged over the width of the PSF: of a few repetitions a single pixel says little. Where nothing was measured,
or only that the level is beyond the sensor's range, the spread of the whole estimate is added: nothing is known there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ssi_pipeline.inversion.assess.blind_metrics import Invert, heldout_excess, noise_of
from ssi_pipeline.inversion.masking import Stream, generator
from ssi_pipeline.inversion.problem import Problem, TileTensors
from ssi_pipeline.physics.widths import FWHM_PER_SIGMA, fwhm, profile_through_peak

_GREATEST_SCALE = 2.0
"""In small and empty tiles the held-out risk is little but its own scatter."""

_LEAST_SIGMA, _GREATEST_SIGMA = 0.5, 4.0
"""Pixels, of the Gaussian that averages the map."""


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """``deviation``: (z) y x, normalised units, >= 0. ``scale``: what the held-out pixels multiplied it by, >= 1."""

    deviation: Tensor
    scale: float


@torch.no_grad()
def uncertainty(
    problem: Problem,
    tile: TileTensors,
    invert: Invert,
    estimate: Tensor,
    others: Sequence[Tensor],
    repeats: int,
    seed: int,
    judged: Tensor | None = None,
    risk: float | None = None,
) -> Uncertainty:
    """Return the typical error of an estimate at each pixel.

    Parameters
    ----------
    invert
        What made the estimate: it is asked again for ``repeats`` simulated measurements (and four with hidden pixels).
    estimate
        invert(y), (z) y x, normalised.
    others
        Estimates by other priors.
    judged
        True at the pixels, (z) y x, by which the scale is found; None: all.
    risk
        E (g f - g x)^2 as hidden pixels have it, normalised units squared, where it is known already.

    Notes
    -----
    Frequencies that every prior leaves out are in no map. docs/quality.md has the share of pixels whose error exceeds
    the map k times, on images whose truth is known.
    """
    window = tile.usable if judged is None else tile.usable & judged
    squares, blurred = _repeated(problem, tile, invert, estimate, repeats, seed)
    seen = problem.forward.crop(window)
    simulated = float(blurred[seen].double().mean()) if bool(seen.any()) else math.nan
    real = heldout_excess(problem, tile, invert, seed, noise_of(problem, tile), window) if risk is None else risk
    known = simulated > 0 and math.isfinite(real)
    scale = math.sqrt(min(max(real / simulated, 1.0), _GREATEST_SCALE**2)) if known else 1.0
    total = scale**2 * squares
    for other in others:
        total += (other - estimate).square()
    widths = averaging_sigma(problem.forward.approximate_psf)
    smooth = ndimage.gaussian_filter(total.double().cpu().numpy(), widths, mode="nearest")
    smooth[_unmeasured(problem, tile)] += _spread(tile, estimate) ** 2
    return Uncertainty(torch.from_numpy(np.sqrt(np.maximum(smooth, 0)).astype(np.float32)), scale)


def _unmeasured(problem: Problem, tile: TileTensors) -> NDArray[np.bool_]:
    """Return where nothing was observed, or only that the level is beyond what the sensor can report."""
    return np.asarray((~tile.observed | (tile.y >= problem.forward.sensor.high)).cpu().numpy())


def _spread(tile: TileTensors, estimate: Tensor) -> float:
    """Return the standard deviation of the estimate where something was observed; the channel's range where nothing."""
    seen = estimate[tile.observed]
    return float(seen.double().std()) if seen.numel() > 1 else 1.0


def averaging_sigma(psf: NDArray[np.floating]) -> tuple[float, ...]:
    """Return the standard deviation, pixels along each axis, of a Gaussian as wide as the PSF at half its maximum."""
    widths = [fwhm(profile_through_peak(psf, axis)) / FWHM_PER_SIGMA for axis in range(psf.ndim)]
    return tuple(min(max(width, _LEAST_SIGMA), _GREATEST_SIGMA) for width in widths)


def _repeated(
    problem: Problem, tile: TileTensors, invert: Invert, estimate: Tensor, repeats: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the mean squares of f(y*) - x and, on the pixels that g predicts, of what is left of it behind the PSF.

    Where nothing was observed y* is drawn as well: what fills the gaps in y is as uncertain as what it was made of.
    """
    forward, sensor = problem.forward, problem.forward.sensor
    level = forward.level(estimate)
    deviation, drawn_again = sensor.deviation(level), forward.crop(tile.usable | ~tile.observed)
    squares, risk = torch.zeros_like(estimate), torch.zeros_like(level)
    for k in range(repeats):
        drawn = torch.randn(tuple(level.shape), generator=generator(seed, Stream.UNCERTAINTY, k)).to(level)
        again = tile.y.clone()
        seen = forward.crop(again)  # impulses stay what and where they are
        seen.copy_(torch.where(drawn_again, (level + deviation * drawn).clamp(sensor.low, sensor.high), seen))
        error = invert(again, tile.observed) - estimate
        squares += error.square()
        risk += forward.level(error).square()
    return squares / repeats, risk / repeats
