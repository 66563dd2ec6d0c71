"""The contract of forward models, for each implementation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage
from varying_model import VaryingModel, gaussian

from ssi_pipeline.physics.forward import ForwardModel
from ssi_pipeline.physics.sensor import CensoredSensor
from ssi_pipeline.physics.shift_invariant import ShiftInvariantModel

CLIPPING = CensoredSensor(alpha=0.01, sigma=0.1, low=0.0, high=1.0)
SHAPES = {2: (24, 21), 3: (9, 14, 17)}
RADII = {2: (3, 2), 3: (1, 2, 3)}


def off_centre(axes: int) -> np.ndarray:
    values = np.random.default_rng(0).random(tuple(2 * r + 1 for r in RADII[axes])).astype(np.float32)
    values[(0,) * axes] = 5.0  # distinguishes convolution from correlation
    return values / values.sum()


MODELS: dict[str, Callable[[int], ForwardModel]] = {
    "no blur": lambda axes: ShiftInvariantModel(np.ones((1,) * axes, np.float32), CLIPPING),
    "shift-invariant": lambda axes: ShiftInvariantModel(gaussian(RADII[axes], 1.2), CLIPPING),
    "shift-invariant, off-centre": lambda axes: ShiftInvariantModel(off_centre(axes), CLIPPING),
    "varying": lambda axes: VaryingModel(gaussian(RADII[axes], 0.6), off_centre(axes), CLIPPING, SHAPES[axes][0]),
    "varying, mirrored": lambda axes: VaryingModel(
        gaussian(RADII[axes], 0.6), gaussian(RADII[axes], 1.5), CLIPPING, SHAPES[axes][0]
    ),
    "varying, a window": lambda axes: MODELS["varying"](axes).at([(5,) * axes]),
}


@pytest.fixture(params=[(name, axes) for name in MODELS for axes in (2, 3)], ids=lambda p: f"{p[0]}, {p[1]}D")
def model(request: pytest.FixtureRequest) -> ForwardModel:
    name, axes = request.param
    return MODELS[name](axes)


def estimate_for(model: ForwardModel, *batch: int, seed: int = 0) -> torch.Tensor:
    shape = (*batch, *SHAPES[model.axes])
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def inner(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() * b.double()).sum())


def test_every_implementation_is_a_forward_model(model: ForwardModel) -> None:
    assert model.axes == len(model.radius) == model.approximate_psf.ndim
    assert model.approximate_psf.dtype == np.float32
    assert tuple(n // 2 for n in model.approximate_psf.shape) == model.radius
    assert all(n % 2 for n in model.approximate_psf.shape)
    assert float(model.approximate_psf.sum()) == pytest.approx(1, abs=1e-6)
    assert len(model.digest) == 16
    assert set(model.digest) <= set("0123456789abcdef")


def test_the_prediction_is_smaller_by_the_radius_and_aligned_by_crop(model: ForwardModel) -> None:
    x = estimate_for(model, 2)
    level = model.level(x)
    assert level.shape == model.crop(x).shape
    assert level.shape[1:] == tuple(n - 2 * r for n, r in zip(SHAPES[model.axes], model.radius, strict=True))
    assert model.crop(x).data_ptr() >= x.data_ptr()  # a view: what is written into it is written into x
    torch.testing.assert_close(model.level(torch.ones_like(x)), torch.ones_like(level), rtol=0, atol=1e-5)


def test_it_predicts_the_mean_report_of_the_level(model: ForwardModel) -> None:
    x = estimate_for(model)
    assert torch.equal(model(x), CLIPPING(model.level(x)))
    assert dataclasses.asdict(model.sensor) == dataclasses.asdict(CLIPPING)


def test_the_adjoint_is_the_transpose_and_the_gradient(model: ForwardModel) -> None:
    x = estimate_for(model).requires_grad_()
    level = model.level(x)
    y = torch.from_numpy(np.random.default_rng(1).standard_normal(level.shape).astype(np.float32))
    back = model.adjoint(y)
    assert back.shape == x.shape
    # float32 FFTs: the products differ by rounding that adds up like a random walk
    scale = float(level.detach().double().norm() * y.double().norm())
    assert inner(level.detach(), y) == pytest.approx(inner(x.detach(), back), abs=1e-6 * scale)
    (gradient,) = torch.autograd.grad((level * y).sum(), x)
    torch.testing.assert_close(gradient, back, rtol=1e-4, atol=1e-5)


def test_windows_are_recorded_as_in_the_whole(model: ForwardModel) -> None:
    x = estimate_for(model)
    size = tuple(2 * r + 3 for r in model.radius)
    origins = [(0,) * model.axes, tuple(n - s for n, s in zip(x.shape, size, strict=True)), (1,) * model.axes]
    windows = [tuple(slice(o, o + s) for o, s in zip(origin, size, strict=True)) for origin in origins]
    found = model.at(origins)(torch.stack([x[w] for w in windows]))
    whole = torch.zeros_like(x)
    model.crop(whole).copy_(model(x))
    expected = model.crop(torch.stack([whole[w] for w in windows]))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.at([origins[1]])(x[windows[1]]), expected[1], rtol=1e-4, atol=1e-5)


def test_the_power_bound_is_not_exceeded(model: ForwardModel) -> None:
    size = tuple(n + 3 for n in SHAPES[model.axes])
    bound = model.power_bound(size)
    assert bound.dtype == torch.float64
    smooth = torch.from_numpy(ndimage.gaussian_filter(estimate_for(model).numpy(), 2.0))
    point = torch.zeros_like(smooth)
    point[tuple(n // 2 for n in point.shape)] = 1
    for x in (estimate_for(model), smooth, point, torch.ones_like(smooth)):
        filtered = torch.fft.irfftn(torch.fft.rfftn(x.double(), s=size) * bound, s=size)
        limit = inner(x, filtered[tuple(slice(0, n) for n in x.shape)])
        assert inner(model.level(x), model.level(x)) <= limit * (1 + 1e-5)


def test_the_filtered_adjoint_is_what_it_is_for_any_model(model: ForwardModel) -> None:
    """An implementation with fewer FFTs equals the default one in float32."""
    force = estimate_for(model)
    image = torch.from_numpy(np.random.default_rng(2).standard_normal(model.crop(force).shape).astype(np.float32))
    size = tuple(n + 3 for n in force.shape)
    response = (1 / (1 + model.power_bound(size))).float()
    for found, expected in zip(
        model.filtered_adjoint(image, force, response, size),
        ForwardModel.filtered_adjoint(model, image, force, response, size),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_symmetries_leave_it_unchanged_and_undo_themselves(model: ForwardModel) -> None:
    side = max(SHAPES[model.axes])
    x = estimate_for(model, 2)[..., :side, :side]
    x = torch.nn.functional.pad(x, [0, side - x.shape[-1], 0, side - x.shape[-2]])  # square: it can be transposed
    for symmetry in model.symmetries:
        assert torch.equal(symmetry(symmetry(x)), x)
        torch.testing.assert_close(model.level(symmetry(x)), symmetry(model.level(x)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axes", [2, 3])
def test_symmetries_are_found(axes: int) -> None:
    flips = {name: len(made(axes).symmetries) for name, made in MODELS.items()}
    assert flips["no blur"] == axes + 1  # all flips, and the transposition
    assert flips["shift-invariant"] == axes  # the radii differ along y and x
    assert flips["shift-invariant, off-centre"] == flips["varying"] == 0
    assert flips["varying, mirrored"] == 1


def test_models_have_digests_of_their_own() -> None:
    whole = {name: made for name, made in MODELS.items() if "window" not in name}
    assert len({made(axes).digest for made in whole.values() for axes in (2, 3)}) == 2 * len(whole)
