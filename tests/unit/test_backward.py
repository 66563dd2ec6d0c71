"""The gradient of the training loss in closed form is that of autograd, for every sensor and penalty."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from classical_cases import config_for, gaussian_psf

from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.network.backward import by_autograd, in_closed_form
from ssi_pipeline.inversion.network.batches import Batch
from ssi_pipeline.inversion.network.loss import Objective
from ssi_pipeline.physics.sensor import CensoredSensor
from ssi_pipeline.physics.shift_invariant import ShiftInvariantModel

SENSORS = {
    "linear": CensoredSensor(0.01, 0.02),
    "clips below": CensoredSensor(0.01, 0.02, low=0.1),
    "clips above": CensoredSensor(0.01, 0.02, high=0.6, dark=0.2),
    "clips, read noise alone": CensoredSensor(0.0, 0.05, low=0.0, high=0.7),
    "clips, almost no noise": CensoredSensor(1e-8, 1e-6, low=0.0, high=0.7),
}

PENALTIES: dict[str, dict[str, Any]] = {
    "default": {},
    "two bounds": {"bounds": {"lower": 110.0, "upper": 300.0}, "total_variation": 0.0},
    "norms of parameters": {"weight_l1": 1e-3, "weight_l2": 1e-2},
}


@pytest.mark.parametrize("sensor", SENSORS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("axes", [2, 3])
def test_it_is_that_of_autograd(sensor: str, penalty: str, axes: int) -> None:
    config = config_for("ssi", training=PENALTIES[penalty], tiling={"dimensions": axes})
    objective = Objective(config, ChannelCalibration(100.0, 400.0, 0.02, 1.0, 25.0, 100.0, 0.0))
    psf = gaussian_psf(axes).values
    forward = ShiftInvariantModel(psf.reshape(psf.shape[-axes:]), SENSORS[sensor])
    shape = (2, *(2 * r + 6 for r in forward.radius))
    image, y, hidden = (torch.rand(shape, generator=generator(0, i)) for i in range(3))
    scale = torch.nn.Parameter(torch.tensor([1.5, 0.4]).reshape(2, *(1,) * axes))
    batch = Batch(image, forward.crop(y), forward.crop(hidden) < 0.3, lambda output: output, forward)
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    for way in (by_autograd, in_closed_form):
        scale.grad = None
        estimate = scale * image - 0.2  # beyond all limits at some pixels
        data = way(objective, batch, estimate, [scale])
        assert scale.grad is not None
        found.append((data, scale.grad))
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=2e-4, atol=1e-7)


def test_a_batch_without_hidden_pixels_pulls_at_nothing() -> None:
    objective = Objective(config_for("ssi"), ChannelCalibration(100.0, 400.0, 0.02, 1.0, 25.0, 100.0, 0.0))
    error, slope = objective.data_with_slope(torch.ones(3), torch.zeros(3), torch.zeros(3, dtype=torch.bool))
    assert float(error) == float(slope.abs().sum()) == 0


def test_levels_far_beyond_a_limit_have_the_slope_of_the_limit() -> None:
    sensor = CensoredSensor(0.01, 0.02, low=0.0, high=1.0)
    level = torch.tensor([-100.0, -5.0, 0.5, 20.0, 100.0])
    mean, slope = sensor.with_slope(level)
    np.testing.assert_allclose(mean, sensor(level), atol=1e-4)
    assert slope is not None
    np.testing.assert_allclose(slope, [0, 0, 1, 0, 0], atol=1e-6)
