"""A clipping sensor: its likelihood, its inverse, and the gain of modelling it for each solver."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from classical_cases import PLAIN, blobs, clipping, gaussian_psf, measured, problem_for
from scipy import ndimage, stats

from ssi_pipeline.inversion.classical.censored_likelihood import DataTerm
from ssi_pipeline.inversion.classical.registry import CLASSICAL
from ssi_pipeline.physics.sensor import CensoredSensor

SENSOR = CensoredSensor(alpha=0.01, sigma=0.1, low=0.0, high=1.0)
LEVELS = torch.linspace(-6, 7, 500)


def test_the_likelihood_is_that_of_a_censored_normal() -> None:
    at_high = np.sqrt(0.1**2 + 0.01 * 1.0)
    for report, expected in (
        (0.3, (LEVELS.numpy() - 0.3) ** 2 / 2),
        (0.0, -(0.1**2) * stats.norm.logcdf((0 - LEVELS.numpy()) / 0.1)),
        (1.0, -(at_high**2) * stats.norm.logcdf((LEVELS.numpy() - 1) / at_high)),
    ):
        for level, value in zip(LEVELS, expected, strict=True):
            term = DataTerm(torch.tensor([report]), torch.tensor([True]), SENSOR)
            assert term.value(level[None]) == pytest.approx(value, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("report", [0.0, 0.4, 1.0])
def test_the_slope_is_the_derivative_rises_and_is_lipschitz(report: float) -> None:
    term = DataTerm(torch.full_like(LEVELS, report), torch.ones_like(LEVELS, dtype=torch.bool), SENSOR)
    slope, step = term.slope(LEVELS), 1e-3

    def value(level: float) -> float:
        return DataTerm(torch.tensor([report]), torch.tensor([True]), SENSOR).value(torch.tensor([level]))

    for i in range(0, 500, 25):
        level = float(LEVELS[i])
        difference = (value(level + step) - value(level - step)) / (2 * step)
        assert float(slope[i]) == pytest.approx(difference, rel=1e-3, abs=1e-3)  # float32 levels
    rise = slope.diff() / LEVELS.diff()
    assert float(rise.min()) > -1e-5
    assert float(rise.max()) < 1 + 1e-3


@pytest.mark.parametrize("step", [0.05, 0.2, 3.0])
@pytest.mark.parametrize("sigma", [0.1, 1e-7])
@pytest.mark.parametrize("report", [0.0, 0.4, 1.0])
def test_the_proximal_map_is_where_the_slopes_balance(report: float, sigma: float, step: float) -> None:
    sensor = CensoredSensor(alpha=0.0, sigma=sigma, low=0.0, high=1.0)
    known = torch.arange(500) % 5 > 0
    term = DataTerm(torch.full_like(LEVELS, report), known, sensor)
    least = term.proximal(LEVELS, step)
    balance = term.slope(least) + step * (least - LEVELS)
    # float32 of levels up to 7
    assert float(balance.abs().max()) < 1e-5
    assert torch.equal(least[~known], LEVELS[~known])


def test_without_limits_it_is_least_squares_and_unknown_pixels_do_not_count() -> None:
    y, z = torch.rand(50), torch.randn(50)
    known = torch.arange(50) % 3 > 0
    term = DataTerm(y, known, CensoredSensor(0.1, 0.1))
    torch.testing.assert_close(term.slope(z), torch.where(known, z - y, torch.zeros_like(z)))
    assert term.value(z) == pytest.approx(float((z - y)[known].square().sum() / 2), rel=1e-5)


def test_the_bias_correction_is_the_identity_without_clipping() -> None:
    psf = gaussian_psf()
    y = measured(blobs((40, 40)), psf, sigma=0.1)
    problem, given = problem_for("wiener", psf, y)
    assert problem.linear.clipping_bias(given.repaired) is given.repaired
    problem, given = problem_for("wiener", psf, y.clip(0), clipping(0.1))
    once = problem.linear.clipping_bias(given.repaired)
    dark = ndimage.binary_erosion(blobs((40, 40)) == 0, iterations=3)
    assert abs(float(once[dark].mean())) < 0.5 * float(given.repaired[dark].mean())
    assert torch.equal(once, problem.linear.clipping_bias(given.repaired.clone()))


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(("name", "weight"), [("wiener", 0.3), ("richardson_lucy", 6), ("tv", 0.03), ("tv_cg", 0.03)])
def test_modelling_the_sensor_restores_a_darker_clipped_background(name: str, weight: float, axes: int) -> None:
    psf = gaussian_psf(axes)
    truth = blobs((64, 64) if axes == 2 else (16, 40, 40), scale=6.0)
    dark = ndimage.binary_erosion(truth == 0, iterations=3)  # further from anything bright than the PSF blurs
    y = measured(truth, psf, sigma=0.15).clip(0)
    inner = tuple(slice(r, -r) for r in (4, 4))
    errors = {}
    for kind, calibration in (("known", clipping(0.15)), ("unknown", PLAIN)):
        problem, given = problem_for(name, psf, y, calibration)
        x = CLASSICAL[name].solve(problem, given, weight).numpy()
        errors[kind] = abs(float(x[..., *inner][dark[..., *inner]].mean()))
    assert errors["known"] < 0.6 * errors["unknown"]
