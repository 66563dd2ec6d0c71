"""Tuning of a classical solver: near the best weight without ground truth, or as configured."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from classical_cases import PLAIN, as_measurement, blobs, clipping, config_for, gaussian_psf, measured, problem_for

from ssi_pipeline.errors import ConfigError
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.classical.registry import CLASSICAL, weight_of
from ssi_pipeline.inversion.classical.tuning import tune
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.problem import build_problem
from ssi_pipeline.inversion.solve import solve
from ssi_pipeline.physics.psf import Psf

SOLVERS = ["wiener", "richardson_lucy", "tv", "tv_cg"]
QUIET = {"sensor": {"impulse_share": 0}}


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("axes", [2, 3])
def test_the_weight_is_near_the_best_by_ground_truth(name: str, axes: int) -> None:
    psf, noise = gaussian_psf(axes), 0.15
    truth = blobs((56, 56) if axes == 2 else (10, 24, 24))
    y = measured(truth, psf, sigma=noise).clip(0)
    config = config_for(name, tiling={"dimensions": axes}, **QUIET)
    choice = tune(build_problem(psf, clipping(noise), config, "cpu"), config.solver, [as_measurement(y)])
    problem, given = problem_for(name, psf, y, clipping(noise))
    inner = tuple(slice(r, -r) for r in problem.forward.radius)

    def error(weight: float) -> float:
        x = CLASSICAL[name].solve(problem, given, weight).numpy()
        return float(np.mean((x - truth)[inner] ** 2))

    assert len(choice.candidates) == len(choice.losses) > 3
    assert all(math.isfinite(loss) for loss in choice.losses)
    best = min(error(weight) for weight in choice.candidates[:14])
    # half a decibel
    assert error(choice.weight) < 1.12 * best


def test_the_first_candidate_has_converged_before_it_is_judged() -> None:
    light = np.zeros((64, 64))
    light[tuple(np.random.default_rng(0).integers(0, 64, (2, 30)))] = 20
    psf, config = gaussian_psf(sigma=1.7), config_for("tv_cg")
    y = measured(light, psf, sigma=0.08)
    sharp = dataclasses.replace(PLAIN, noise_sigma=0.08, wiener_weight=0.005)
    choice = tune(build_problem(psf, sharp, config, "cpu"), "tv_cg", [as_measurement(y)])
    # it starts from the linear solution: half way its loss was below those of the next two, where tuning ended
    assert choice.losses[0] > choice.losses[1] > choice.losses[2]
    assert choice.end is None


def test_more_noise_wants_a_smoother_estimate() -> None:
    psf, truth = gaussian_psf(), blobs((72, 72))
    for name, sign in (("wiener", 1), ("richardson_lucy", -1), ("tv", 1)):
        weights = []
        for noise in (0.03, 0.2):
            calibration = dataclasses.replace(PLAIN, noise_sigma=noise)
            y = measured(truth, psf, sigma=noise)
            weights.append(
                tune(
                    build_problem(psf, calibration, config_for(name, **QUIET), "cpu"),
                    config_for(name, **QUIET).solver,
                    [as_measurement(y)],
                ).weight
            )
        assert sign * weights[0] < sign * weights[1]


def test_samples_that_are_too_small_give_a_default_weight() -> None:
    psf = gaussian_psf()
    for name in SOLVERS:
        choice = tune(
            build_problem(psf, PLAIN, config_for(name, **QUIET), "cpu"),
            config_for(name, **QUIET).solver,
            [as_measurement(np.ones((6, 6)))],
        )
        assert choice.losses == ()
        assert choice.weight > 0


def test_tuning_is_reproducible_and_ignores_unobserved_pixels() -> None:
    psf = gaussian_psf()
    y = measured(blobs((72, 72)), psf)[None]
    observed = np.ones(y.shape, bool)
    observed[:, :30] = False
    config = config_for("tv", **QUIET)
    assert tune(build_problem(psf, PLAIN, config, "cpu"), config.solver, [Measurement(y, observed)]) == tune(
        build_problem(psf, PLAIN, config, "cpu"), config.solver, [Measurement(y, observed)]
    )
    assert tune(build_problem(psf, PLAIN, config, "cpu"), config.solver, [Measurement(y, ~observed)]) != tune(
        build_problem(psf, PLAIN, config, "cpu"), config.solver, [Measurement(y, observed)]
    )


def sampled() -> tuple[Psf, Measurement]:
    """Return a PSF, and a sample with a border of its radius."""
    psf = gaussian_psf()
    return psf, as_measurement(measured(blobs((64, 64)), psf, sigma=0.1), (0, 4, 4))


@functools.cache
def rivals() -> Mapping[str, float]:
    """Return the weights of the solvers between which and a shared network tiles choose."""
    psf, sample = sampled()
    found = calibrate([sample], psf, config_for("ssi", training={"scope": "shared"}))
    assert found.weight == found.weights["tv_cg"]
    return found.weights


def test_a_network_of_each_tile_needs_no_weight_and_a_shared_one_those_of_its_rivals() -> None:
    psf, sample = sampled()
    assert calibrate([sample], psf, config_for("ssi", training={"select": "network"})).weight is None
    assert set(rivals()) == {"tv_cg", "richardson_lucy"}


@pytest.mark.parametrize("name", SOLVERS)
def test_calibration_stores_the_weight_of_the_configured_solver(name: str) -> None:
    psf, sample = sampled()
    config = config_for(name)
    found = calibrate([sample], psf, config)
    assert (
        found.weight
        == tune(
            build_problem(psf, dataclasses.replace(found, weight=None), config, "cpu"), config.solver, [sample]
        ).weight
    )
    if name in rivals():
        assert rivals()[name] == found.weight
    option: dict[str, Any] = {"iterations": 3} if name == "richardson_lucy" else {"weight": 0.07}
    changed = config_for(name, classical=option)
    calibration = calibrate([sample], psf, changed)
    assert calibration.weight == next(iter(option.values()))
    one = solve(build_problem(psf, found, config, "cpu"), sample, 0)
    two = solve(build_problem(psf, calibration, changed, "cpu"), sample, 0)
    assert (one.method, two.method) == (name, name)
    assert not np.array_equal(one.estimate, two.estimate)
    assert one.heldout_after is not None
    assert one.heldout_after < 1.1 * two.heldout_after  # type: ignore[operator]
    other = {"weight": 0.07} if name == "richardson_lucy" else {"iterations": 3}
    assert calibrate([sample], psf, config_for(name, classical=other)).weight == found.weight


def test_the_maximum_likelihood_weight_is_used() -> None:
    psf = gaussian_psf()
    sample = as_measurement(measured(blobs((64, 64)), psf, sigma=0.1), (0, 4, 4))
    likeliest, loss = (config_for("wiener", classical={"weight": choice}) for choice in ("likelihood", "auto"))
    found = calibrate([sample], psf, likeliest)
    assert found.weight == calibrate([sample], psf, config_for("ssi")).wiener_weight
    assert found.weight != calibrate([sample], psf, loss).weight
    given = config_for("wiener", classical={"weight": found.weight})
    one, two = (
        solve(build_problem(psf, calibrate([sample], psf, c), c, "cpu"), sample, 0).estimate for c in (likeliest, given)
    )
    np.testing.assert_array_equal(one, two)


def test_a_channel_calibrated_for_another_solver_is_refused() -> None:
    psf = gaussian_psf()
    y = measured(blobs((40, 40)), psf)
    problem, _ = problem_for("tv", psf, y)
    with pytest.raises(ConfigError, match="not calibrated for solver: tv"):
        weight_of(problem, "tv")
    assert weight_of(problem, "wiener") == PLAIN.wiener_weight  # what a network falls back to
