"""Closed forms of the sensor model against independent ones, and finite gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ssi_pipeline.physics.sensor import CensoredSensor

INF = math.inf
LIMITS = [(0.0, 1.0), (0.0, INF), (-INF, 1.0), (0.0, 0.15)]
LEVELS = [-0.4, -0.1, 0.0, 0.05, 0.5, 0.98, 1.3]


def moments(sensor: CensoredSensor, z: float) -> tuple[float, float]:
    """Mean and variance from scipy's truncated normal and the point masses at the limits."""
    s = math.sqrt(sensor.alpha * max(z - sensor.dark, 0) + sensor.sigma**2)
    a, b = (sensor.low - z) / s, (sensor.high - z) / s
    inside = stats.truncnorm(a, b, loc=z, scale=s)
    parts = [(stats.norm.cdf(b) - stats.norm.cdf(a), inside.mean(), inside.var())]
    parts += [(stats.norm.cdf(a), sensor.low, 0.0)] * math.isfinite(a)
    parts += [(stats.norm.sf(b), sensor.high, 0.0)] * math.isfinite(b)
    mean = sum(p * m for p, m, _ in parts)
    return mean, sum(p * (v + (m - mean) ** 2) for p, m, v in parts)


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("level", LEVELS)
def test_mean_and_variance_agree_with_a_truncated_normal(limits: tuple[float, float], level: float) -> None:
    sensor = CensoredSensor(0.01, 0.1, *limits, dark=0.02)
    mean, variance = moments(sensor, level)
    z = torch.tensor(level, dtype=torch.float64)
    assert float(sensor(z)) == pytest.approx(mean, abs=1e-8)
    assert float(sensor.variance(z)) == pytest.approx(variance, rel=1e-6, abs=1e-12)
    # float32 has 7 digits of s; far beyond a limit the variance is a small difference of tails
    assert float(sensor.variance(z.float())) == pytest.approx(variance, rel=1e-3, abs=1e-8)


def test_the_variance_agrees_with_drawn_noise() -> None:
    n, sensor = 400_000, CensoredSensor(0.02, 0.1, 0.0, 1.0)
    noise = np.random.default_rng(0).standard_normal(n)
    for level in (0.0, 0.1, 0.9):
        drawn = np.clip(level + math.sqrt(0.02 * level + 0.01) * noise, 0, 1).var()
        # a variance of n values has a relative error of sqrt(2 / n) or, clipped, a little more; five of them
        assert float(sensor.variance(torch.tensor(level))) == pytest.approx(drawn, rel=5 * 1.5 * math.sqrt(2 / n))


@pytest.mark.parametrize("limits", LIMITS)
def test_the_derivative_is_that_of_finite_differences_and_positive(limits: tuple[float, float]) -> None:
    sensor = CensoredSensor(0.01, 0.1, *limits)
    z = torch.linspace(-0.25, 1.35, 33, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(sensor(z).sum(), z)
    with torch.no_grad():
        differences = (sensor(z + 1e-5) - sensor(z - 1e-5)) / 2e-5
    away = z.detach().abs() > 1e-3  # s has a corner at the dark level
    torch.testing.assert_close(slope[away], differences[away], rtol=1e-4, atol=1e-8)
    assert bool((slope > 0).all())


FINITE = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=80, deadline=None)
@given(
    level=FINITE,
    alpha=st.sampled_from([0.0, 0.05, 1e3]),
    sigma=st.sampled_from([0.0, 1e-4, 0.1]),
    limits=st.sampled_from([*LIMITS, (-INF, INF)]),
)
def test_values_and_gradients_are_finite_at_any_level(
    level: float, alpha: float, sigma: float, limits: tuple[float, float]
) -> None:
    sensor = CensoredSensor(alpha, sigma, *limits)
    z = torch.tensor([level, *LEVELS, 1e-8, -1e-8, 1 + 1e-7], requires_grad=True)
    for value in (sensor(z), sensor.variance(z)):
        (slope,) = torch.autograd.grad(value.sum(), z)
        assert bool(torch.isfinite(value).all())
        assert bool(torch.isfinite(slope).all())
    assert bool((sensor.variance(z) >= 0).all())


def test_without_limits_it_is_the_identity_to_the_bit() -> None:
    sensor, x = CensoredSensor(0.1, 0.1), torch.randn(100)
    assert torch.equal(sensor(x), x)
    torch.testing.assert_close(sensor.variance(x), 0.1 * x.clamp(min=0) + 0.01)


def test_far_inside_the_limits_nothing_changes() -> None:
    x = torch.linspace(0.4, 0.6, 50)
    torch.testing.assert_close(CensoredSensor(0.0, 0.01, 0.0, 1.0)(x), x, rtol=0, atol=1e-7)


@pytest.mark.parametrize("wrong", [{"alpha": -1.0}, {"sigma": -1.0}, {"low": 2.0, "high": 1.0}])
def test_nonsense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        CensoredSensor(**{"alpha": 0.0, "sigma": 0.1, **wrong})
