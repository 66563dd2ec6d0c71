"""Estimate the constants of a channel from samples of it, without ground truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import RunConfig
from ssi_pipeline.inversion.assess.psf_width import check_width
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.classical.registry import configured_weight, solvers_to_tune
from ssi_pipeline.inversion.classical.tuning import tune
from ssi_pipeline.inversion.linear.prior_weight import channel_weight
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.problem import Problem, build_problem
from ssi_pipeline.inversion.sensor.between import noise_between
from ssi_pipeline.inversion.sensor.estimate import (
    SensorEstimate,
    as_configured,
    estimate_sensor,
    find_correlation,
    with_variance,
)
from ssi_pipeline.inversion.sensor.impulse_share import impulse_share
from ssi_pipeline.inversion.sensor.impulses import ImpulseTest, point_source_kappa
from ssi_pipeline.methods import SOLVERS
from ssi_pipeline.physics.psf import Psf, psf_values

_PERCENTILES = (1.0, 99.8)
"""Percentiles that become 0 and 1, as in StarDist (Schmidt et al. 2018): sparse bright structures keep their range."""


def calibrate(
    samples: Sequence[Measurement],
    psf: Psf | None,
    config: RunConfig,
    pairs: Mapping[str, Sequence[Measurement]] = MappingProxyType({}),
) -> ChannelCalibration:
    """Estimate the constants of a channel from samples of it, without ground truth.

    Parameters
    ----------
    samples
        Parts of the channel, raw units. Parts smaller than the PSF count for the percentiles only.
    psf
        None for no blur. Where it varies, samples have a place; what asks which detail the image can have uses the
        sharpest PSF.
    config
        Overrides estimates of the sensor and names the solver whose weight is tuned.
    pairs
        Samples of neighbours that the network sees, two planes each, by axis (z, t).

    Returns
    -------
    calibration
        ``empty`` is set where all samples are constant.
    """
    offset, scale, minimum = _statistics(samples)
    if scale == 0:
        return ChannelCalibration(offset, 0.0, 0.0, 0.0, 0.0, 1.0, minimum, empty=True)
    normal = [dataclasses.replace(s, y=((s.y - offset) / scale).astype(np.float32)) for s in samples]
    found = estimate_sensor(samples, offset, scale, config.sensor)
    values = psf_values(psf and psf.sharpest, config.tiling.dimensions)
    reach = config.sensor.reach(config.tiling.dimensions)
    noise = find_correlation(samples, offset, scale, found, values, reach)
    correlation = None if noise is None else noise.correlation
    if noise is not None:
        found = with_variance(estimate_sensor(samples, offset, scale, config.sensor, correlation), noise)
    used = as_configured(found, config.sensor)
    draft = ChannelCalibration(
        offset,
        scale,
        used.sigma,
        used.alpha,
        0.0,
        1.0,
        minimum,
        used.low,
        used.high,
        dark=used.dark,
        correlation=correlation,
        floor=_floor(found, minimum, config.sensor.offset),
        alpha_most=found.alpha_most if config.sensor.alpha is None else None,
    )
    draft = dataclasses.replace(draft, between=_between(pairs, draft, config, values))
    impulses = ImpulseTest(draft.noise, config.impulse_sigma, point_source_kappa(values))
    there = (psf_values(psf and psf.at(s.place), config.tiling.dimensions) for s in normal)
    weight = channel_weight(zip(normal, there, strict=True), impulses, correlation)
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
        known = dataclasses.replace(known, wiener_weight=_start_weight(problem, samples))
    # the check takes the noise for white: it would find detail where neighbours share their noise
    fit = check_width(problem, samples, psf=values) if config.method.computes and correlation is None else None
    first = next(iter(tuned.values()), None)
    return dataclasses.replace(
        known,
        weight=None if first is None else first.weight,
        weight_at_end=None if first is None else first.end,
        weights={name: choice.weight for name, choice in tuned.items()},
        psf_width=None if fit is None else fit.factor,
    )


def _between(
    pairs: Mapping[str, Sequence[Measurement]], known: ChannelCalibration, config: RunConfig, psf: NDArray[np.float32]
) -> dict[str, float | None]:
    """Return the correlation of the noise between neighbours by axis; 0 where it is configured as independent."""
    if config.sensor.correlation == "none":
        return dict.fromkeys(pairs, 0.0)
    return {axis: noise_between(each, known.offset, known.scale, known.noise, psf) for axis, each in pairs.items()}


def _floor(found: SensorEstimate, minimum: float, offset: float | None) -> float | None:
    """Return the lower bound of estimates, raw units: the configured dark level, or one that is never above it.

    The bound from the noise is raised to 0 where no sample is negative. It is not raised to the darkest local mean:
    blur lightens dark places.
    """
    if offset is not None:
        return offset
    known = [] if found.floor is None else [found.floor]
    return max(known + ([0.0] if minimum >= 0 else []), default=None)


def _start_weight(problem: Problem, samples: Sequence[Measurement]) -> float:
    """Return the weight of the network's linear start: the larger of maximum likelihood's and the masked loss's.

    The masked loss underestimates the weight, as it compares after the PSF. Maximum likelihood fails where the
    spectrum of the data does not fit its model: on a 3D widefield stack it chose 0.002, which predicted hidden pixels
    60 times worse than the 0.3 of the masked loss.
    """
    by_likelihood, by_loss = problem.calibration.wiener_weight, tune(problem, "wiener", samples)
    return max(by_likelihood, by_loss.weight) if by_loss.losses else by_likelihood


@dataclasses.dataclass(frozen=True, slots=True)
class _Tuned:
    """Weight, or number of iterations, of a classical solver; ``end``: as ``weight_at_end`` of the calibration."""

    weight: float
    end: str | None = None


def _tuned(problem: Problem, samples: Sequence[Measurement]) -> dict[str, _Tuned]:
    """Return the weight, or number of iterations, of each classical solver to tune, by name."""
    return {name: _weight(problem, samples, name) for name in solvers_to_tune(problem.config)}


def _weight(problem: Problem, samples: Sequence[Measurement], name: str) -> _Tuned:
    config = problem.config
    if SOLVERS[name].likelihood and config.classical.weight == "likelihood":
        return _Tuned(problem.calibration.wiener_weight)
    configured = configured_weight(config, name)
    if configured is not None:
        return _Tuned(configured)
    choice = tune(problem, name, samples)
    return _Tuned(choice.weight, choice.end)


def _statistics(samples: Sequence[Measurement]) -> tuple[float, float, float]:
    """Return (offset, scale, minimum), raw units; scale 0 where all samples are constant."""
    seen = [s.y[s.observed] for s in samples if s.observed.any()]
    if not seen:
        return 0.0, 0.0, 0.0
    values = np.concatenate(seen)
    low, high = np.percentile(values, _PERCENTILES)
    if high <= low:  # nearly empty: a few bright pixels above both percentiles
        low, high = values.min(), values.max()
    return float(low), float(high) - float(low), float(values.min())
