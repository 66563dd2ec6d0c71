"""Light is neither lost nor below the dark level: few photons, bright objects, and the bound from the noise."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from classical_cases import PLAIN, as_measurement, blobs, blur, config_for, gaussian_psf, measured, problem_for
from numpy.typing import NDArray

from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.classical.observation import Observation
from ssi_pipeline.inversion.classical.registry import CLASSICAL
from ssi_pipeline.inversion.classical.richardson_lucy import with_flux
from ssi_pipeline.inversion.network.averaged import averaged, finished
from ssi_pipeline.inversion.network.training import build_inverse
from ssi_pipeline.inversion.problem import build_problem
from ssi_pipeline.inversion.solve import solve

VALUES = {"wiener": 1e-4, "richardson_lucy": 50, "tv": 0.003, "tv_cg": 0.003}
MARGIN = 12


def photons(mean: float, read: float, offset: float, seed: int = 0) -> NDArray[np.float64]:
    """Return counts, rounded, of a textured scene with points, ``mean`` photons a pixel."""
    rng, psf = np.random.default_rng(seed), gaussian_psf(sigma=1.7)
    light = 0.2 + blobs((128, 128), seed) * rng.uniform(0.5, 1.5, (128, 128))
    light[tuple(rng.integers(0, 128, (2, 20)))] += 10
    drawn = rng.poisson(blur(light * mean / light.mean(), psf)) + read * rng.standard_normal(light.shape)
    counts: NDArray[np.float64] = np.clip(np.rint(drawn + offset), 0, None)
    return counts


@pytest.mark.parametrize(("read", "offset"), [(0.0, 0.0), (1.5, 100.0)])
@pytest.mark.parametrize("mean", [0.05, 0.2, 1.0])
def test_lone_photons_are_light_and_hot_pixels_are_not(mean: float, read: float, offset: float) -> None:
    """A third of the light of 0.2 photons was taken for impulses, 93 % of that of 0.05."""
    y, psf = photons(mean, read, offset), gaussian_psf(sigma=1.7)
    config = config_for("tv_cg", classical={"weight": 0.1})
    calibration = calibrate([as_measurement(y)], psf, config)
    problem = build_problem(psf, calibration, config, "cpu")
    repaired = problem.linear.impulses.repair(torch.from_numpy(calibration.normalised(y.astype(np.float32))))
    kept = repaired.double().numpy() * calibration.scale + calibration.offset - offset
    assert kept.sum() == pytest.approx((y - offset).sum(), rel=0.01)
    assert calibration.impulse_share < 0.001
    assert calibration.floor is not None
    assert calibration.floor <= offset  # never above the dark level
    hot = np.random.default_rng(9).random(y.shape) < 0.002
    found = problem.linear.impulses.find(torch.from_numpy(calibration.normalised(np.where(hot, offset + 50, y))))
    assert found.numpy()[hot].mean() > 0.95


@pytest.mark.parametrize("name", ["wiener", "richardson_lucy", "tv_cg"])
@pytest.mark.parametrize(("read", "offset"), [(0.0, 0.0), (1.5, 100.0)])
def test_the_light_of_few_photons_is_kept(name: str, read: float, offset: float) -> None:
    y, psf = photons(0.2, read, offset)[:96, :96], gaussian_psf(sigma=1.7)
    config = config_for(name, classical={"iterations": 3} if name == "richardson_lucy" else {"weight": 0.05})
    measurement = as_measurement(y, (0, MARGIN, MARGIN))
    problem = build_problem(psf, calibrate([as_measurement(y)], psf, config), config, "cpu")
    x = solve(problem, measurement, 0).estimate[0, MARGIN:-MARGIN, MARGIN:-MARGIN]
    noise = 0.5 * read * math.sqrt(y.size)  # half the standard error of the sum, which light at the border reaches
    light = (y - offset).sum()
    assert (x - offset).sum(dtype=np.float64) == pytest.approx(light, abs=max(0.02 * light, noise))


def bead() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return a bead beside which an unconstrained solution is far below the dark level 0, and the truth."""
    light = np.full((64, 64), 0.1)
    light[32, 30] = 30.0
    return measured(light, gaussian_psf(), sigma=0.02), light


@pytest.mark.parametrize("name", VALUES)
def test_nothing_is_below_the_dark_level_beside_a_bead(name: str) -> None:
    y, light = bead()
    calibration = dataclasses.replace(PLAIN, noise_sigma=0.02)
    free, bounded = (
        CLASSICAL[name].solve(*problem_for(name, gaussian_psf(), y, c), VALUES[name]).numpy()
        for c in (calibration, dataclasses.replace(calibration, floor=0.0))
    )
    distance = np.hypot(*np.ogrid[-32:32, -30:34])
    moat, inside = (distance > 4) & (distance < 9), distance <= 10
    if name != "richardson_lucy":
        assert free.min() < -0.05
    assert bounded.min() >= 0
    assert bounded[inside].sum() == pytest.approx(light[inside].sum(), rel=0.01)
    assert abs(bounded[moat] - 0.1).max() < abs(free[moat] - 0.1).max() + 1e-3


@pytest.mark.parametrize("name", ["wiener", "tv", "tv_cg"])
def test_a_bound_that_no_pixel_reaches_changes_nothing(name: str) -> None:
    y, _ = bead()
    y = np.clip(y, 0, 1)
    one, two = (
        CLASSICAL[name].solve(*problem_for(name, gaussian_psf(), y, c), 0.05)
        for c in (PLAIN, dataclasses.replace(PLAIN, floor=-2.0))
    )
    torch.testing.assert_close(one, two, rtol=0, atol=1e-6)


def test_richardson_lucy_ignores_the_values_of_unknown_pixels() -> None:
    psf = gaussian_psf()
    y = measured(blobs((40, 40)), psf).clip(0)
    problem, given = problem_for("richardson_lucy", psf, y)
    known, other = given.known.clone(), given.repaired.clone()
    known[18:21, 18:21] = False
    other[18:21, 18:21] = 9.0
    one, two = (
        CLASSICAL["richardson_lucy"].solve(problem, Observation(image, known), 10) for image in (given.repaired, other)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, CLASSICAL["richardson_lucy"].solve(problem, given, 10))


def test_light_is_kept_by_one_factor_which_adds_no_noise() -> None:
    y = measured(blobs((64, 64)), gaussian_psf(), sigma=0.1)
    problem, given = problem_for("tv_cg", gaussian_psf(), y, dataclasses.replace(PLAIN, noise_sigma=0.1, floor=0.0))
    x = torch.full((64, 64), 0.4)
    assert torch.equal(with_flux(problem, given, x), x)  # nothing at the bound
    x[:8] = 0.0
    kept = with_flux(problem, given, x)
    known = problem.forward.crop(given.known)
    light = [float(a[known].sum()) for a in (problem.forward.level(kept), problem.forward.crop(given.repaired))]
    assert light[0] == pytest.approx(light[1], rel=1e-5)
    assert float(kept[8:].std()) == pytest.approx(0.0, abs=1e-6)


def test_a_network_is_bounded_and_keeps_the_light() -> None:
    calibration = dataclasses.replace(PLAIN, floor=0.1)
    config = config_for("ssi")
    problem = build_problem(gaussian_psf(), calibration, config, "cpu")
    channels = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0))
    inverse = build_inverse(problem, torch.Generator().manual_seed(0))
    image, seen = torch.full((64, 64), 0.5), torch.ones((64, 64), dtype=torch.bool)
    kept = finished(problem, image, seen, averaged(problem, torch.stack([image, channels[1]]), inverse))
    assert float(problem.forward.level(kept).mean()) == pytest.approx(0.5, rel=1e-5)
    assert float(kept.min()) == pytest.approx(0.1)


def test_what_a_network_makes_of_the_surroundings_does_not_reach_the_image() -> None:
    """Nothing was measured there: a projection with it took 4 dB from the picture cell."""
    config = config_for("ssi", training={"start": "random"})
    problem = build_problem(gaussian_psf(), dataclasses.replace(PLAIN, floor=0.1), config, "cpu")
    inverse = build_inverse(problem, torch.Generator().manual_seed(0))  # its output is w
    seen = torch.zeros((64, 64), dtype=torch.bool)
    seen[12:-12, 12:-12] = True
    w = torch.rand(64, 64, generator=torch.Generator().manual_seed(0)) + 0.5
    dark, black = (finished(problem, w, seen, averaged(problem, torch.stack([w, w.where(seen, light)]), inverse))
                   for light in (torch.tensor(0.1), torch.tensor(-5.0)))  # fmt: skip
    torch.testing.assert_close(black, dark)
