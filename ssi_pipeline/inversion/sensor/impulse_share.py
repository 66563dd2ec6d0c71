"""Estimate the share of impulses from the number of pixels that the impulse test finds.

The test misses impulses close to the local level, and finds a few noisy pixels. Its sensitivity is measured on impulses
planted into the samples, its false positive rate on noise simulated around the local medians.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.sensor.impulses import ImpulseTest, NoiseModel
from ssi_pipeline.physics.sensor import CensoredSensor

_PLANTED = 0.02
"""Share of planted impulses: enough to count, and too few to dominate a window."""

_LEAST_POWER = 0.2
"""Least sensitivity for which the count is corrected; below, it is the number found minus false positives."""


def impulse_share(samples: Sequence[Measurement], test: ImpulseTest, sensor: CensoredSensor) -> float:
    """Return the share of impulses, 0 to 1, assuming values uniform between the limits, or the extremes of the data.

    Parameters
    ----------
    samples
        Parts of the channel, normalised.
    test
        Impulse test of the channel.
    sensor
        Noise and limits in normalised units.
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
    """Return counts: pixels found, false positives in noise, pixels, planted impulses found, planted impulses."""
    y, observed = torch.from_numpy(sample.y), torch.from_numpy(sample.observed)
    found = test.find(y) & observed
    level = test.level(y)  # the median of clipped noise is its clamped level
    drawn = _noisy(level, test.noise, sensor, rng)
    alarms = test.find(drawn) & observed
    planted = torch.from_numpy(rng.random(y.shape) < _PLANTED) & observed
    impulses = torch.from_numpy(rng.uniform(*limits, y.shape).astype(np.float32))
    caught = test.find(torch.where(planted, impulses, y)) & planted
    return _count(found), _count(alarms), _count(observed), _count(caught), _count(planted)


def _noisy(level: Tensor, noise: NoiseModel, sensor: CensoredSensor, rng: np.random.Generator) -> Tensor:
    """Return a level with noise: normal, or at few counts Poisson noise of the same variance."""
    normal = torch.from_numpy(rng.standard_normal(level.shape).astype(np.float32))
    drawn = level + sensor.deviation(level) * normal
    few = noise.few(level)
    if bool(few.any()):
        counts = noise.deviation(level[few]).double().square() / noise.count**2
        drawn[few] = level[few] + noise.count * torch.from_numpy(rng.poisson(counts.numpy()) - counts.numpy()).float()
    return drawn.clamp(sensor.low, sensor.high)


def _count(where: Tensor) -> int:
    return int(where.sum())
