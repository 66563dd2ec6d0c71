"""Estimate the uncertainty of each pixel by a parametric bootstrap, without ground truth.

The estimate x takes the place of the ground truth: measurements y* = g(x) + noise are simulated with the channel's
noise, and f(y*) - x is a known error (parametric bootstrap, Efron and Tibshirani 1993, chapter 6). It includes the
variance and the smoothing bias of f, but is too small for three reasons:

- The estimate is smoother than the ground truth, so that f smooths less of it: mean squares are doubled.
- A network may be worse on the real measurement than on simulated ones, which hidden pixels show: the ratio of the two
  risks after the PSF scales the map, never down.
- Frequencies that the PSF removes are filled in by the prior: the difference from the estimate of another prior is
  added in quadrature, of the Wiener solution by a quarter, as it is noisy itself.

The map is averaged over the width of the PSF, since a single pixel has too few repetitions. Where nothing was measured,
or the sensor saturates, the standard deviation of the whole estimate is added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ssi_pipeline.inversion.assess.blind_metrics import Invert, heldout_excess, noise_of
from ssi_pipeline.inversion.masking import Stream, generator
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.inversion.surroundings import mirror_outside
from ssi_pipeline.inversion.tile import TileTensors
from ssi_pipeline.physics.widths import FWHM_PER_SIGMA, fwhm, profile_through_peak

_MISSED, _OF_LINEAR = 2.0, 0.25
"""Factors on the mean squares of repeated predictions and of the difference from the Wiener solution, by the likelihood
of errors on six images (docs/quality-measured.md). Without the latter the map is 0 where all predictions are at their
lower bound."""

_GREATEST_RATIO = 4.0
"""Largest ratio of risks: in small and empty tiles the held-out risk is mostly its own sampling error."""

_LEAST_SIGMA, _GREATEST_SIGMA = 0.5, 4.0
"""Limits of the standard deviation, in pixels, of the Gaussian that averages the map."""


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """The uncertainty of an estimate.

    Attributes
    ----------
    deviation
        Typical error of each pixel, (z) y x, normalised units, >= 0.
    scale
        Factor on the root mean square of repeated predictions, from 1.4 to 2.8.
    """

    deviation: Tensor
    scale: float


@torch.no_grad()
def uncertainty(
    problem: Problem,
    tile: TileTensors,
    invert: Invert,
    estimate: Tensor,
    repeats: int,
    seed: int,
    *,
    scored: Tensor | None = None,
    risk: float | None = None,
    linear: Tensor | None = None,
    alternative: Tensor | None = None,
) -> Uncertainty:
    """Return the typical error of an estimate at each pixel.

    Parameters
    ----------
    problem, tile
        Inverse problem of the channel, and the tile.
    invert
        The inverse f that computed the estimate. It is evaluated on ``repeats`` simulated measurements, and on four
        images with hidden pixels unless ``risk`` is given.
    estimate
        invert(y), (z) y x, normalised.
    repeats
        Number of simulated measurements.
    seed
        Seed of the tile.
    scored
        True at the pixels (z) y x from which the scale is computed; None: all.
    risk
        E (g f - g x)^2 from hidden pixels, squared normalised units, where it is known already.
    linear, alternative
        Wiener solution, and an estimate with another prior, as ``estimate``; None where there is none.

    Notes
    -----
    Frequencies that every prior omits are missing from the map. docs/quality.md has the share of pixels whose error
    exceeds k times the map, on images with ground truth.
    """
    window = tile.usable if scored is None else tile.usable & scored
    squares, blurred = _repeated(problem, tile, invert, estimate, repeats, seed)
    seen = problem.forward.crop(window)
    simulated = float(blurred[seen].double().mean()) if bool(seen.any()) else math.nan
    real = heldout_excess(problem, tile, invert, seed, noise_of(problem, tile), window) if risk is None else risk
    known = simulated > 0 and math.isfinite(real)
    ratio = min(max(real / simulated, 1.0), _GREATEST_RATIO) if known else 1.0
    total = _MISSED * ratio * squares
    if alternative is not None:
        total += (alternative - estimate).square()
    if linear is not None:
        total += _OF_LINEAR * (linear - estimate).square()
    widths = averaging_sigma(problem.forward.approximate_psf)
    smooth = ndimage.gaussian_filter(total.double().cpu().numpy(), widths, mode="nearest")
    smooth[_unmeasured(problem, tile)] += _spread(tile, estimate) ** 2
    return Uncertainty(torch.from_numpy(np.sqrt(np.maximum(smooth, 0)).astype(np.float32)), math.sqrt(_MISSED * ratio))


def _unmeasured(problem: Problem, tile: TileTensors) -> NDArray[np.bool_]:
    """Return the mask of pixels that were not observed, or at which the sensor saturates."""
    return np.asarray((~tile.observed | (tile.y >= problem.forward.sensor.high)).cpu().numpy())


def _spread(tile: TileTensors, estimate: Tensor) -> float:
    """Return the standard deviation of the estimate over observed pixels; without any, 1, the channel's range."""
    seen = estimate[tile.observed]
    return float(seen.double().std()) if seen.numel() > 1 else 1.0


def averaging_sigma(psf: NDArray[np.floating]) -> tuple[float, ...]:
    """Return the standard deviation, pixels along each axis, of a Gaussian as wide as the PSF at half maximum."""
    widths = [fwhm(profile_through_peak(psf, axis)) / FWHM_PER_SIGMA for axis in range(psf.ndim)]
    return tuple(min(max(width, _LEAST_SIGMA), _GREATEST_SIGMA) for width in widths)


def _repeated(
    problem: Problem, tile: TileTensors, invert: Invert, estimate: Tensor, repeats: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the mean squares of f(y*) - x and, on the pixels that g predicts, of its blurred level.

    Where nothing was observed y* is drawn as well, since values interpolated from noisy pixels are noisy.
    """
    forward, sensor = problem.forward, problem.forward.sensor
    level = forward.level(estimate)
    deviation, drawn_again = sensor.deviation(level), forward.crop(tile.usable | ~tile.observed)
    squares, risk = torch.zeros_like(estimate), torch.zeros_like(level)
    for k in range(repeats):
        drawn = problem.noise(tuple(level.shape), generator(seed, Stream.UNCERTAINTY, k)).to(level)
        again = tile.y.clone()
        seen = forward.crop(again)  # a view: impulses keep their values
        seen.copy_(torch.where(drawn_again, (level + deviation * drawn).clamp(sensor.low, sensor.high), seen))
        error = invert(mirror_outside(again, tile.gaps), tile.observed) - estimate
        squares += error.square()
        risk += forward.level(error).square()
    return squares / repeats, risk / repeats
