"""Estimate the weight of the Wiener filter's prior by marginal likelihood, for a channel or for a single tile."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from ssi_pipeline.inversion.linear.marginal_likelihood import WEIGHTS, marginal_likelihood_of, maximum_likelihood_weight
from ssi_pipeline.inversion.measurement import Measurement, observed_box, to_tensor
from ssi_pipeline.inversion.problem import Problem, with_weight
from ssi_pipeline.inversion.sensor.correlation import NoiseCorrelation
from ssi_pipeline.inversion.sensor.impulses import ImpulseTest
from ssi_pipeline.inversion.tile import TileTensors, heldout_loss


def channel_weight(
    samples: Iterable[tuple[Measurement, NDArray[np.float32]]],
    impulses: ImpulseTest,
    correlation: NoiseCorrelation | None = None,
) -> float:
    """Return the maximum-likelihood weight of the samples of a channel.

    Parameters
    ----------
    samples
        Parts of the channel, normalised, each with its PSF on a tile's spatial axes, (z) y x.
    impulses
        Impulse test of the channel.
    correlation
        Correlation of the noise between pixels; None where it is white.
    """
    likelihood = np.zeros(len(WEIGHTS))
    for sample, psf in samples:
        likelihood += _log_likelihood(sample, psf, impulses, correlation)
    return maximum_likelihood_weight(likelihood)


def tile_weight(problem: Problem, measurement: Measurement) -> float:
    """Return the maximum-likelihood weight of one tile; the channel's where the tile is too small.

    A smooth tile among structured ones needs a far larger weight (measured on four planes of one channel: up to
    3.7 dB). The weight is one of 33 candidates determined by all pixels, too coarse to carry information on a hidden
    one.
    """
    normal = Measurement(problem.calibration.normalised(measurement.y), measurement.observed)
    psf, correlation = problem.forward.approximate_psf, problem.calibration.correlation
    likelihood = _log_likelihood(normal, psf, problem.linear.impulses, correlation)
    return maximum_likelihood_weight(likelihood) if likelihood.any() else problem.calibration.wiener_weight


def with_own_weight(problem: Problem, tile: TileTensors, measurement: Measurement) -> tuple[Problem, TileTensors]:
    """Return problem and tensors with the tile's own maximum-likelihood weight in the linear inverse.

    A weight below the channel's is used only where it predicts the held-out pixels better, as the likelihood can fail.
    """
    weight, channel_wide = tile_weight(problem, measurement), problem.calibration.wiener_weight
    if weight == channel_wide:
        return problem, tile
    own = with_weight(problem, weight)
    own_tile = tile.by(own.linear)
    if weight < channel_wide and not _linear_loss(own, own_tile) < _linear_loss(problem, tile):
        return problem, tile
    return own, own_tile


def _linear_loss(problem: Problem, tile: TileTensors) -> float:
    return heldout_loss(problem, tile, tile.channels[1])


def _log_likelihood(
    sample: Measurement, psf: NDArray[np.float32], impulses: ImpulseTest, correlation: NoiseCorrelation | None
) -> NDArray[np.float64]:
    """Return the log likelihood of each weight for a normalised sample.

    The model assumes noise everywhere, but local means in gaps have hardly any: noise is added to them.
    """
    box = observed_box(sample)[-psf.ndim :]
    repaired = impulses.repair(to_tensor(sample.y, psf.ndim)).numpy()
    gaps = ~sample.observed.reshape(repaired.shape)[box]
    repaired = repaired[box]
    if gaps.any():
        level = torch.from_numpy(repaired[gaps])
        drawn = np.random.default_rng(0).standard_normal(level.shape).astype(np.float32)
        repaired[gaps] += impulses.noise.deviation(level).numpy() * drawn
    return marginal_likelihood_of(repaired, psf, correlation)
