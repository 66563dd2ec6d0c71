"""The projection of a Wiener solution onto light above the floor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from classical_cases import gaussian_psf
from torch import Tensor

from ssi_pipeline.inversion.linear.positive import project
from ssi_pipeline.inversion.linear.wiener import laplacian
from ssi_pipeline.physics.forward import ForwardModel
from ssi_pipeline.physics.sensor import CensoredSensor
from ssi_pipeline.physics.shift_invariant import ShiftInvariantModel

FLOOR = -0.05


def model(axes: int) -> ForwardModel:
    values = gaussian_psf(axes).values
    return ShiftInvariantModel(values[0] if axes == 2 else values, CensoredSensor(0.0, 0.15, -np.inf, np.inf))


def noisy(axes: int) -> Tensor:
    """Points and areas of light in a dark surrounding, with noise on both sides of the floor."""
    rng = np.random.default_rng(axes)
    shape = (40, 44) if axes == 2 else (9, 24, 22)
    image = 0.15 * rng.standard_normal(shape) + 2.0 * (rng.random(shape) > 0.97)
    image[..., 5:15, 8:20] += 0.8
    return torch.from_numpy(image.astype(np.float32))


def distance(forward: ForwardModel, weight: float, change: Tensor) -> float:
    """Return |x - v|_A^2 on a grid that the image does not fill."""
    size = tuple(n + 16 for n in change.shape)
    metric = forward.power_bound(size) + weight * torch.from_numpy(laplacian(size)) ** 2
    spectrum = torch.fft.rfftn(change.double(), s=size)
    back = torch.fft.irfftn(spectrum * metric, s=size)[tuple(slice(0, n) for n in change.shape)]
    return float((change.double() * back).sum())


def minimum(forward: ForwardModel, weight: float, v: Tensor) -> float:
    """Return the least distance, by many plain steps of the gradient."""
    size = tuple(n + 16 for n in v.shape)
    metric = forward.power_bound(size) + weight * torch.from_numpy(laplacian(size)) ** 2
    window, step = tuple(slice(0, n) for n in v.shape), 1 / float(metric.max())
    x = ahead = v.double().clamp(min=FLOOR)
    for n in range(1, 500):
        gradient = torch.fft.irfftn(torch.fft.rfftn(ahead - v, s=size) * metric, s=size)[window]
        before, x = x, (ahead - step * gradient).clamp(min=FLOOR)
        ahead = x + (n - 1) / (n + 2) * (x - before)
    return distance(forward, weight, x - v)


@pytest.mark.parametrize("weight", [1e-3, 3e-2, 0.5])
@pytest.mark.parametrize("axes", [2, 3])
def test_the_projection_is_near_the_nearest_image_above_the_floor(axes: int, weight: float) -> None:
    forward, v = model(axes), noisy(axes)
    found = project(forward, v, weight, FLOOR)
    least = minimum(forward, weight, v)
    ours, cut = (distance(forward, weight, x - v) for x in (found, v.clamp(min=FLOOR)))
    assert float(found.min()) >= np.float32(FLOOR)
    assert least <= ours * 1.001
    assert ours - least < 0.05 * (cut - least)


def test_an_image_above_the_floor_is_its_own_projection() -> None:
    v = noisy(2)
    assert project(model(2), v, 0.1, float(v.min())) is v
    assert project(model(2), v, 0.1, -np.inf) is v


def test_what_is_far_from_the_bound_does_not_change() -> None:
    v = torch.full((80, 90), 1.0)
    v[:20, :20] = noisy(2)[:20, :20]
    change = project(model(2), v, 0.03, FLOOR) - v
    assert float(change[:20, :20].abs().max()) > 0.1
    assert float(change[50:, 50:].abs().max()) < 1e-3
