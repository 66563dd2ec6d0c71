"""The weight of the Wiener filter's prior by marginal likelihood: of a channel's samples, and of one tile alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from ssi_pipeline.inversion.linear.marginal_likelihood import WEIGHTS, likeliest_weight, marginal_likelihood_of
from ssi_pipeline.inversion.measurement import Measurement, gaps_of, observed_box, to_tensor
from ssi_pipeline.inversion.problem import Problem, TileTensors, heldout_loss, make_tile_tensors, with_weight
from ssi_pipeline.inversion.sensor.impulses import ImpulseTest


def channel_weight(samples: Iterable[Measurement], psf: NDArray[np.float32], impulses: ImpulseTest) -> float:
    """Return the likeliest weight for normalised samples, ``psf`` having a tile's spatial axes, (z) y x."""
    likelihood = np.zeros(len(WEIGHTS))
    for sample in samples:
        likelihood += _log_likelihood(sample, psf, impulses)
    return likeliest_weight(likelihood)


def tile_weight(problem: Problem, measurement: Measurement) -> float:
    """Return the likeliest weight of the prior for one tile alone; the channel's where the tile cannot tell.

    A smooth tile among structured ones wants a far larger weight (measured on four planes of one channel: up
    to 3.7 dB). The weight is one of 33 steps decided by all pixels: broad enough not to betray a hidden one.
    """
    normal = Measurement(problem.calibration.normalised(measurement.y), measurement.observed)
    likelihood = _log_likelihood(normal, problem.forward.approximate_psf, problem.linear.impulses)
    return likeliest_weight(likelihood) if likelihood.any() else problem.calibration.wiener_weight


def with_own_weight(
    problem: Problem, tile: TileTensors, measurement: Measurement, seed: int
) -> tuple[Problem, TileTensors]:
    """Return problem and tile with the tile's own likeliest weight of the linear part.

    A weight below the channel's is taken only where it predicts the held-out pixels better: the likelihood can fail.
    """
    weight, channels = tile_weight(problem, measurement), problem.calibration.wiener_weight
    if weight == channels:
        return problem, tile
    own = with_weight(problem, weight)
    prepared = make_tile_tensors(own, measurement, seed)
    if weight < channels and not _linear_loss(own, prepared) < _linear_loss(problem, tile):
        return problem, tile
    return own, prepared


def _linear_loss(problem: Problem, tile: TileTensors) -> float:
    return heldout_loss(problem, tile, tile.channels[1])


def _log_likelihood(sample: Measurement, psf: NDArray[np.float32], impulses: ImpulseTest) -> NDArray[np.float64]:
    """Return the log likelihood of each weight for a normalised sample.

    The model knows white noise everywhere, and the local means in gaps have next to none: noise is drawn for them.
    """
    repaired = impulses.repair(to_tensor(sample.y, psf.ndim)).numpy()
    gaps = gaps_of(sample)
    if gaps is not None:
        level = torch.from_numpy(repaired[gaps.reshape(repaired.shape)])
        drawn = np.random.default_rng(0).standard_normal(level.shape).astype(np.float32)
        repaired[gaps.reshape(repaired.shape)] += impulses.noise.deviation(level).numpy() * drawn
    return marginal_likelihood_of(repaired[observed_box(sample)[-psf.ndim :]], psf)
