"""The sensor's closed forms against independent ones, and no gradient that is no number."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from ssi_pipeline.physics.forward import CensoredSensor as FromForward
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


def test_the_name_is_still_where_it_was() -> None:
    assert FromForward is CensoredSensor


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


@pytest.mark.parametrize("limits", LIMITS)
def test_the_inverse_undoes_the_mean_and_stays_between_the_limits(limits: tuple[float, float]) -> None:
    sensor = CensoredSensor(0.01, 0.1, *limits)
    z = torch.linspace(max(limits[0], -0.5), min(limits[1], 1.5), 41, dtype=torch.float64)
    torch.testing.assert_close(sensor.invert(sensor(z)), z, rtol=0, atol=1e-9)
    beyond = sensor.invert(torch.tensor([-9.0, 9.0], dtype=torch.float64))
    expected = [limits[0] if math.isfinite(limits[0]) else -9.0, limits[1] if math.isfinite(limits[1]) else 9.0]
    # a report beyond the limits' means is at a limit; without a limit there, the level is the report
    assert beyond.tolist() == pytest.approx(expected, abs=1e-6)
    outside = torch.tensor([-0.1], dtype=torch.float64)
    if math.isfinite(limits[0]):
        torch.testing.assert_close(sensor.invert(sensor(outside), beyond=3.0), outside, rtol=0, atol=1e-6)


@pytest.mark.parametrize("limits", [(0.0, 1.0), (0.0, INF), (-INF, INF)])
@pytest.mark.parametrize("share", [0.0, 0.05])
def test_the_likelihood_is_a_probability(limits: tuple[float, float], share: float) -> None:
    if share and not all(map(math.isfinite, limits)):
        pytest.skip("impulses between infinite limits have no finite density to integrate")
    sensor = CensoredSensor(0.01, 0.1, *limits, impulse_share=share)
    level = torch.tensor(0.12, dtype=torch.float64)

    def likelihood(report: float) -> float:
        return math.exp(-float(sensor.negative_log_likelihood(level, torch.tensor(report, dtype=torch.float64))))

    start, stop = max(limits[0], -2.0) + 1e-9, min(limits[1], 2.0) - 1e-9
    total = integrate.quad(likelihood, start, stop, points=[0.12], limit=200)[0]
    total += sum(likelihood(limit) for limit in limits if math.isfinite(limit))
    assert total == pytest.approx(1.0, abs=1e-6)
    unclipped = stats.norm(0.12, math.sqrt(0.01 * 0.12 + 0.01)).pdf(0.2)
    assert likelihood(0.2) == pytest.approx(unclipped * (1 - share) + share * (1 - 1 / 256), rel=1e-6)


def test_impulses_bound_what_an_outlier_costs() -> None:
    level, report = torch.tensor([0.9, 0.5]), torch.tensor([0.0, 1.0])
    hard = CensoredSensor(0.0, 0.02, 0.0, 1.0).negative_log_likelihood(level, report)
    soft = CensoredSensor(0.0, 0.02, 0.0, 1.0, impulse_share=0.01).negative_log_likelihood(level, report)
    assert bool((hard > 100).all())
    assert bool((soft < 12).all())


FINITE = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=80, deadline=None)
@given(
    level=FINITE,
    report=FINITE,
    alpha=st.sampled_from([0.0, 0.05, 1e3]),
    sigma=st.sampled_from([0.0, 1e-4, 0.1]),
    limits=st.sampled_from([*LIMITS, (-INF, INF)]),
    share=st.sampled_from([0.0, 0.01]),
)
def test_values_and_gradients_are_finite_at_any_level(
    level: float, report: float, alpha: float, sigma: float, limits: tuple[float, float], share: float
) -> None:
    sensor = CensoredSensor(alpha, sigma, *limits, impulse_share=share)
    z = torch.tensor([level, *LEVELS, 1e-8, -1e-8, 1 + 1e-7], requires_grad=True)
    for value in (sensor(z), sensor.variance(z), sensor.negative_log_likelihood(z, torch.full_like(z, report))):
        (slope,) = torch.autograd.grad(value.sum(), z)
        assert bool(torch.isfinite(value).all())
        assert bool(torch.isfinite(slope).all())
    assert bool((sensor.variance(z) >= 0).all())


def test_without_limits_it_is_the_identity_to_the_bit() -> None:
    sensor, x = CensoredSensor(0.1, 0.1), torch.randn(100)
    assert torch.equal(sensor(x), x)
    assert torch.equal(sensor.invert(x), x)
    torch.testing.assert_close(sensor.variance(x), 0.1 * x.clamp(min=0) + 0.01)


def test_far_inside_the_limits_nothing_changes() -> None:
    x = torch.linspace(0.4, 0.6, 50)
    torch.testing.assert_close(CensoredSensor(0.0, 0.01, 0.0, 1.0)(x), x, rtol=0, atol=1e-7)


@pytest.mark.parametrize("wrong", [{"alpha": -1.0}, {"sigma": -1.0}, {"low": 2.0, "high": 1.0}, {"impulse_share": 1.0}])
def test_nonsense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        CensoredSensor(**{"alpha": 0.0, "sigma": 0.1, **wrong})
