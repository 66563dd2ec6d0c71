"""How many pixels are impulses, from how many the test finds.

The test misses impulses that happen to lie near their surroundings, and calls a few noisy pixels impulses. Both
shares are measured: impulses are planted into the samples, and noise without impulses is drawn on their local medians.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.sensor.impulses import ImpulseTest, window_quartiles
from ssi_pipeline.physics.sensor import CensoredSensor

_PLANTED = 0.02
"""Share of planted pixels: enough to count, and rarely two in one window's majority."""

_LEAST_POWER = 0.2
"""Where fewer planted impulses are found, the count cannot be corrected: it is what was found, less false alarms."""


def impulse_share(samples: Sequence[Measurement], test: ImpulseTest, sensor: CensoredSensor) -> float:
    """Return the share of impulses, if they are uniform between the limits (between the extremes where there are none).

    Parameters
    ----------
    samples
        Normalised.
    sensor
        In normalised units.
    """
    if not test.active or not any(s.observed.any() for s in samples):
        return 0.0
    low, high = _range(samples, sensor)
    rng = np.random.default_rng(0)
    counts = np.sum([_counts(s, test, sensor, (low, high), rng) for s in samples], axis=0)
    found, alarms, pixels, caught, planted = (float(count) for count in counts)
    alarm, power = alarms / pixels, caught / max(planted, 1.0)
    share = max(found / pixels - alarm, 0.0)
    return min(share / (power - alarm), 1 - 1e-6) if power - alarm > _LEAST_POWER else share


def _range(samples: Sequence[Measurement], sensor: CensoredSensor) -> tuple[float, float]:
    seen = [s.y[s.observed] for s in samples if s.observed.any()]
    low = sensor.low if math.isfinite(sensor.low) else min(float(y.min()) for y in seen)
    high = sensor.high if math.isfinite(sensor.high) else max(float(y.max()) for y in seen)
    return low, high


def _counts(
    sample: Measurement,
    test: ImpulseTest,
    sensor: CensoredSensor,
    limits: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[int, int, int, int, int]:
    """Return pixels found, false alarms in pure noise, pixels; planted impulses found, planted ones."""
    y, observed = torch.from_numpy(sample.y), torch.from_numpy(sample.observed)
    found = test.find(y) & observed
    level = window_quartiles(y)[1]  # the median of clipped noise is its level, clamped to the limits
    noise = torch.from_numpy(rng.standard_normal(y.shape).astype(np.float32))
    drawn = (level + sensor.deviation(level) * noise).clamp(sensor.low, sensor.high)
    alarms = test.find(drawn) & observed
    planted = torch.from_numpy(rng.random(y.shape) < _PLANTED) & observed
    impulses = torch.from_numpy(rng.uniform(*limits, y.shape).astype(np.float32))
    caught = test.find(torch.where(planted, impulses, y)) & planted
    return _count(found), _count(alarms), _count(observed), _count(caught), _count(planted)


def _count(where: Tensor) -> int:
    return int(where.sum())
