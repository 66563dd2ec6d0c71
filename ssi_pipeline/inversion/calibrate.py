"""Estimate the constants of a channel from samples of it, without ground truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ssi_pipeline.config import RunConfig
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.classical.registry import calibrated, configured_weight
from ssi_pipeline.inversion.classical.tuning import tune
from ssi_pipeline.inversion.linear.prior_weight import channel_weight
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.problem import Problem, build_problem
from ssi_pipeline.inversion.sensor.estimate import as_configured, estimate_sensor
from ssi_pipeline.inversion.sensor.impulse_share import impulse_share
from ssi_pipeline.inversion.sensor.impulses import ImpulseTest, point_source_kappa
from ssi_pipeline.methods import SOLVERS
from ssi_pipeline.physics.psf import Psf, psf_values

_PERCENTILES = (1.0, 99.8)
"""That become 0 and 1, as StarDist normalises (Schmidt et al. 2018): sparse bright structures keep their range."""


def calibrate(samples: Sequence[Measurement], psf: Psf | None, config: RunConfig) -> ChannelCalibration:
    """Estimate the constants of a channel from samples of it, without truth.

    Parameters
    ----------
    samples
        Parts of the channel, each large enough for the PSF (other ones count for the statistics only).
    psf
        None where there is no blur.
    """
    offset, scale, minimum = _statistics(samples)
    if scale == 0:
        return ChannelCalibration(offset, 0.0, 0.0, 0.0, 0.0, 1.0, minimum, empty=True)
    normal = [Measurement(((s.y - offset) / scale).astype(np.float32), s.observed) for s in samples]
    found = estimate_sensor(samples, offset, scale, config.sensor)
    used = as_configured(found, config.sensor)
    draft = ChannelCalibration(
        offset, scale, used.sigma, used.alpha, 0.0, 1.0, minimum, used.low, used.high, dark=used.dark
    )
    values = psf_values(psf, config.tiling.dimensions)
    impulses = ImpulseTest(draft.noise, config.impulse_sigma, point_source_kappa(values))
    weight = channel_weight(normal, values, impulses)
    share = impulse_share(normal, impulses, draft.sensor)
    known = dataclasses.replace(
        draft,
        impulse_share=share,
        wiener_weight=weight,
        estimated=dataclasses.replace(found, impulse_share=share),
    )
    problem = build_problem(psf, known, config, "cpu")
    tuned = _tuned(problem, samples)
    if config.method.network:
        known = dataclasses.replace(known, wiener_weight=_smoother(problem, samples))
    return dataclasses.replace(known, weight=tuned)


def _smoother(problem: Problem, samples: Sequence[Measurement]) -> float:
    """Return the likeliest weight, or the one by the masked loss where that is larger: what training starts from.

    The masked loss chooses too small a weight, since it sees the estimate through the PSF. The likelihood fails
    where the spectrum of the data is not that of its model: on a widefield stack in 3D it chose .002, with
    which hidden pixels were predicted 60 times worse than with the masked loss's .3.
    """
    likeliest, by_loss = problem.calibration.wiener_weight, tune(problem, "wiener", samples)
    return max(likeliest, by_loss.weight) if by_loss.losses else likeliest


def _tuned(problem: Problem, samples: Sequence[Measurement]) -> float | None:
    """Return the weight, or number of iterations, of the classical solver that needs one; None where none does."""
    config = problem.config
    name = calibrated(config)
    if name is None:
        return None
    if SOLVERS[name].likelihood and config.classical.weight == "likelihood":
        return problem.calibration.wiener_weight
    configured = configured_weight(config, name)
    return tune(problem, name, samples).weight if configured is None else configured


def _statistics(samples: Sequence[Measurement]) -> tuple[float, float, float]:
    """Return (offset, scale, minimum); scale 0 where all is constant."""
    seen = [s.y[s.observed] for s in samples if s.observed.any()]
    if not seen:
        return 0.0, 0.0, 0.0
    values = np.concatenate(seen)
    low, high = np.percentile(values, _PERCENTILES)
    if high <= low:  # nearly empty: a few bright pixels beyond both percentiles
        low, high = values.min(), values.max()
    return float(low), float(high) - float(low), float(values.min())
