"""Estimate the sensor of a channel from samples, and apply the overrides of the configuration; raw units."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssi_pipeline.config import SensorConfig
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.sensor.noise_fit import estimate_noise
from ssi_pipeline.inversion.sensor.saturation import sensor_limits, without_fill
from ssi_pipeline.physics.sensor import CensoredSensor


@dataclass(frozen=True, slots=True)
class SensorEstimate:
    """Estimated noise and limits of a sensor, raw units.

    The variance of the noise is alpha max(level - dark, 0) + sigma^2.

    Attributes
    ----------
    dark
        Dark level.
    alpha
        Increase of the variance per unit of level.
    sigma
        Standard deviation at the dark level.
    low, high
        Limits at which the sensor clips, None where it does not.
    impulse_share
        Share of pixels that are impulses, 0 to 1.
    """

    dark: float
    alpha: float
    sigma: float
    low: float | None = None
    high: float | None = None
    impulse_share: float = 0.0


def estimate_sensor(
    samples: Sequence[Measurement], offset: float, scale: float, config: SensorConfig
) -> SensorEstimate:
    """Estimate limits and noise of a sensor; ``impulse_share`` is estimated later.

    Parameters
    ----------
    samples
        Parts of the channel, raw units.
    offset, scale
        Normalisation: normalised = (raw - offset) / scale.
    config
        A configured dark level or limits are used in the fit of the noise; they do not change the estimated limits.
    """
    seen = without_fill(samples)
    normal = [Measurement(((s.y - offset) / scale).astype(np.float32), s.observed) for s in seen]
    dark = None if config.offset is None else (config.offset - offset) / scale
    ends = _ends(normal)
    rough = estimate_noise(normal, *ends, dark)
    low, high = sensor_limits(seen, _raw(rough, offset, scale))
    # with clips: false the data may be clipped all the same, which the fit has to take into account
    given = (config.low, config.high) if config.clips else (None, None)
    used_low, used_high = _limit(low, given[0]), _limit(high, given[1])
    limits = (
        -math.inf if used_low is None else (used_low - offset) / scale,
        math.inf if used_high is None else (used_high - offset) / scale,
    )
    noise = _raw(estimate_noise(normal, *limits, dark, rough), offset, scale)
    return SensorEstimate(noise.dark, noise.alpha, noise.sigma, low, high)


def _ends(samples: Sequence[Measurement]) -> tuple[float, float]:
    """Return the lowest and highest value as limits; infinite where all values are equal."""
    seen = [s.y[s.observed] for s in samples if s.observed.any()]
    low, high = min((float(y.min()) for y in seen), default=0.0), max((float(y.max()) for y in seen), default=0.0)
    return (low, high) if low < high else (-math.inf, math.inf)


def _raw(noise: CensoredSensor, offset: float, scale: float) -> CensoredSensor:
    """Convert a noise model to raw units, without limits."""
    return CensoredSensor(noise.alpha * scale, noise.sigma * scale, dark=noise.dark * scale + offset)


def as_configured(found: SensorEstimate, config: SensorConfig) -> SensorEstimate:
    """Return the estimate with values of the configuration in place of estimated ones."""
    given = {"dark": config.offset, "alpha": config.alpha, "sigma": config.sigma}
    used = dataclasses.replace(found, **{name: value for name, value in given.items() if value is not None})
    return dataclasses.replace(used, low=_limit(found.low, config.low), high=_limit(found.high, config.high))


def _limit(found: float | None, given: float | str | None) -> float | None:
    if given is None:
        return found
    return None if isinstance(given, str) else given
