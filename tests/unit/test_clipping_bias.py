"""The bias of clipping is corrected by the sensor's expected report, from one image alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ssi_pipeline.inversion.sensor.clipping_bias import ClippingBias
from ssi_pipeline.physics.sensor import CensoredSensor

LIMITS = [(0.0, 1.0), (0.0, math.inf), (-math.inf, 1.0)]


@pytest.mark.parametrize("axes", [2, 3])
def test_without_limits_it_is_the_image(axes: int) -> None:
    image = torch.rand((4, 20, 20)[-axes:])
    assert ClippingBias(CensoredSensor(0.01, 0.1), axes)(image) is image


@pytest.mark.parametrize(("low", "high"), LIMITS)
@pytest.mark.parametrize("alpha", [0.0, 0.05])
def test_a_constant_mean_report_becomes_its_level(low: float, high: float, alpha: float) -> None:
    sensor = CensoredSensor(alpha, 0.1, low, high)
    for level in np.linspace(max(low, -0.5), min(high, 1.5), 40):
        report = float(sensor(torch.tensor(level, dtype=torch.float64)))
        found = float(ClippingBias(sensor, 2)(torch.full((20, 20), report)).mean())
        # the table's error, and float32 through the mean; mu' is a half at a limit, so errors double
        assert found == pytest.approx(level, abs=5e-6)


def test_a_mean_that_no_level_has_counts_as_the_nearest() -> None:
    clipping_bias = ClippingBias(CensoredSensor(0.0, 0.1, 0.0, 1.0), 2)
    assert float(clipping_bias(torch.zeros(20, 20)).mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(clipping_bias(torch.ones(20, 20)).mean()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("axes", [2, 3])
def test_a_dark_background_gets_its_mean_back(axes: int) -> None:
    shape = (6, 120, 120)[-axes:]
    y = (0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).clamp(min=0)
    sensor = CensoredSensor(0.0, 0.1, 0.0)
    assert float(y.mean()) > 0.035  # 0.1 / sqrt(2 pi)
    # means below that of level 0 cannot go lower: half of the error of the mean around a pixel (0.006) stays
    assert abs(float(ClippingBias(sensor, axes)(y).mean())) < 0.01
