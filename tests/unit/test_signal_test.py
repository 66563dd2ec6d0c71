"""Tiles of noise alone are distinguished from tiles with faint structure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from test_solve import config_for, gaussian_psf, scene

from ssi_pipeline.inversion.assess.signal_test import is_noise_only, lone_impulses
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.problem import build_problem
from ssi_pipeline.inversion.sensor.impulses import ImpulseTest, NoiseModel, point_source_kappa
from ssi_pipeline.inversion.solve import SolveOptions, solve, train_shared
from ssi_pipeline.physics.psf import Psf

SHAPES = {2: (128, 128), 3: (24, 64, 64)}
LEVELS = {"gauss": 0.0, "poisson100": 100.0, "poisson2": 2.0}
SEEDS = 20


def psf_of(axes: int) -> NDArray[np.float32]:
    return gaussian_psf(axes).values.reshape(gaussian_psf(axes).values.shape[-axes:])


def signal(kind: str, axes: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a structure in standard deviations of the noise: a bead's peak, a texture's deviation, a slope's rise."""
    shape, psf = SHAPES[axes], psf_of(axes)
    name, amount = kind.split()
    if name == "slope":
        return float(amount) * np.broadcast_to(np.linspace(-0.5, 0.5, shape[-1]), shape)
    if name == "texture":
        light = ndimage.convolve(rng.standard_normal(shape), psf, mode="wrap")
        return float(amount) * light / light.std()
    light = np.zeros(shape)
    light[tuple(int(rng.integers(n // 4, n - n // 4)) for n in shape)] = float(amount) / psf.max()
    return ndimage.convolve(light, psf, mode="constant")


def measured(kind: str, noise: str, axes: int, seed: int) -> tuple[NDArray[np.float32], NoiseModel]:
    rng = np.random.default_rng((seed, axes))
    level = LEVELS[noise]
    x = signal(kind, axes, rng)
    if not level:
        return (x + rng.standard_normal(x.shape)).astype(np.float32), NoiseModel(0.0, 1.0)
    return rng.poisson(np.maximum(level + np.sqrt(level) * x, 0)).astype(np.float32), NoiseModel(1.0, 0.0)


def noise_only_share(kind: str, noise: str, axes: int) -> float:
    tiles = [measured(kind, noise, axes, seed) for seed in range(SEEDS)]
    return float(np.mean([is_noise_only(y, np.ones(y.shape, bool), model, psf_of(axes)) for y, model in tiles]))


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("noise", list(LEVELS))
def test_noise_alone_has_no_signal(noise: str, axes: int) -> None:
    # 1 in 100 is expected to fail, more for skewed noise: 3 of 20 have a probability below 1e-3
    assert noise_only_share("bead 0", noise, axes) >= 0.85


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(
    ("kind", "noise"),
    # nothing is 5 deviations below a mean of 2 counts
    [(k, n) for k in ("bead 5", "texture 0.3", "slope 3") for n in LEVELS] + [("bead -5", n) for n in list(LEVELS)[:2]],
)
def test_faint_structure_is_signal(kind: str, noise: str, axes: int) -> None:
    assert noise_only_share(kind, noise, axes) == 0


@pytest.mark.parametrize("axes", [2, 3])
def test_a_slope_below_the_noise_is_ignored(axes: int) -> None:
    assert noise_only_share("slope 0.5", "gauss", axes) >= 0.85


@pytest.mark.parametrize("factor", [0.5, 1.2, 3.0])
def test_a_wrong_calibration_hides_no_bead(factor: float) -> None:
    noise = NoiseModel(0.0, factor)
    psf = psf_of(2)
    for seed in range(SEEDS):
        y, _ = measured("bead 5", "gauss", 2, seed)
        assert not is_noise_only(y, np.ones(y.shape, bool), noise, psf)
    if factor > 1:  # one that is too low by half leaves nothing blank
        y, _ = measured("bead 0", "gauss", 2, 0)
        assert is_noise_only(y, np.ones(y.shape, bool), noise, psf)


def test_impulses_are_ignored() -> None:
    psf, noise, blanks = psf_of(2), NoiseModel(0.0, 1.0), 0
    for seed in range(SEEDS):
        y, _ = measured("bead 0", "gauss", 2, seed)
        y[tuple(np.random.default_rng(seed).integers(0, n, 5) for n in y.shape)] += 40
        everywhere = np.ones(y.shape, bool)
        usable = ~ImpulseTest(noise, 3.0, point_source_kappa(psf)).find(torch.from_numpy(y)).numpy()
        assert not is_noise_only(y, everywhere, noise, psf)
        blanks += is_noise_only(y, everywhere & ~lone_impulses(y, everywhere, usable, noise), noise, psf)
    # of five impulses one in 20 counts each: 0.77 of the tiles, fewer than half by chance in 2 of 1000
    assert blanks >= SEEDS / 2


def test_gaps_are_ignored_and_few_pixels_are_not_classified() -> None:
    psf, noise = psf_of(2), NoiseModel(0.0, 1.0)
    y, _ = measured("bead 0", "gauss", 2, 1)
    usable = np.ones(y.shape, bool)
    y[:, :50], usable[:, :50] = 1e6, False
    assert is_noise_only(y, usable, noise, psf)
    usable[5:] = False
    usable[:, 90:] = False
    assert not is_noise_only(y, usable, noise, psf)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("noise", list(LEVELS))
def test_a_bead_found_by_the_impulse_test_is_signal(noise: str, axes: int) -> None:
    psf, blanks = psf_of(axes), 0
    for seed in range(3 * SEEDS):
        y, model = measured("bead 5", noise, axes, seed)
        everywhere = np.ones(y.shape, bool)
        usable = ~ImpulseTest(model, 3.0, point_source_kappa(psf)).find(torch.from_numpy(y)).numpy()
        blanks += is_noise_only(y, everywhere & ~lone_impulses(y, everywhere, usable, model), model, psf)
    assert blanks == 0


def calibration_of(psf: Psf) -> ChannelCalibration:
    """Return the calibration of a channel with structure and noise of standard deviation 20 at the level 50."""
    return calibrate([scene((1, 96, 96), psf)[0]], psf, config_for())


def noise_tile(shape: tuple[int, ...] = (1, 72, 64)) -> Measurement:
    rng = np.random.default_rng(3)
    return Measurement((50 + 20 * rng.standard_normal(shape)).astype(np.float32), np.ones(shape, bool))


def test_a_blank_tile_takes_the_linear_solution_without_training(monkeypatch: pytest.MonkeyPatch) -> None:
    psf = gaussian_psf()
    found = solve(build_problem(psf, calibration_of(psf), config_for(), "cpu"), noise_tile(), 0)
    assert (found.method, found.steps, found.attempts, found.model) == ("blank", 0, 0, None)
    assert found.heldout_after == found.heldout_wiener
    assert {"chi2", "whiteness"} <= set(found.scores)
    assert found.estimate.std() < 0.2 * noise_tile().y.std()
    full = solve(build_problem(psf, calibration_of(psf), config_for(), "cpu"), scene((1, 72, 64), psf)[0], 0)
    assert full.attempts > 0
    linear = solve(build_problem(psf, calibration_of(psf), config_for(solver="wiener"), "cpu"), noise_tile(), 0)
    assert linear.method == "wiener"
    monkeypatch.setattr("ssi_pipeline.inversion.solve.tile_is_noise_only", lambda *_: False)
    assert solve(build_problem(psf, calibration_of(psf), config_for(), "cpu"), noise_tile(), 0).attempts > 0


def test_a_shared_network_is_applied_to_blank_tiles_too() -> None:
    psf, config = gaussian_psf(), config_for(training={"scope": "shared"})
    start = train_shared(build_problem(psf, calibration_of(psf), config, "cpu"), [scene((1, 72, 64), psf)[0]], 0)
    found = solve(build_problem(psf, calibration_of(psf), config, "cpu"), noise_tile(), 0, SolveOptions(start=start))
    assert found.method == "network"
    tuned = config.model_copy(update={"training": config.training.model_copy(update={"scope": "fine_tune"})})
    assert (
        solve(build_problem(psf, calibration_of(psf), tuned, "cpu"), noise_tile(), 0, SolveOptions(start=start)).method
        == "blank"
    )
