"""Solving a tile: better than the linear solution, reproducible, and with fallbacks where training fails."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from scipy import ndimage

from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.errors import ConfigError, CorruptDataError, TrainingError
from ssi_pipeline.inversion.assess.contest import worse_by
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.linear.part import LinearPart
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.network import averaged, training
from ssi_pipeline.inversion.network import loss as objective_module
from ssi_pipeline.inversion.network.batches import Batches, Schedule
from ssi_pipeline.inversion.network.checkpoint import Model, pack, unpack
from ssi_pipeline.inversion.network.inverse import compose
from ssi_pipeline.inversion.network.loss import Objective, normalised_bounds
from ssi_pipeline.inversion.network.training import BestState, build_inverse, is_beaten, train
from ssi_pipeline.inversion.problem import apply, build_problem
from ssi_pipeline.inversion.solve import Solution, SolveOptions, solve, train_shared, without_network
from ssi_pipeline.inversion.tile import TileTensors, heldout_errors, heldout_loss, make_tile_tensors
from ssi_pipeline.needs import required_halo
from ssi_pipeline.physics import shift_invariant
from ssi_pipeline.physics.psf import Psf

OFFSET, SCALE = 50.0, 400.0
QUICK = {
    "steps": 24,
    "batch": 2,
    "patch": 40,
    "learning_rate": 5e-3,
    "select": "network",  # what is tested here is the network; its baseline has tests of its own at the end
    "precision": "float32",  # also where the processor has bfloat16
}


@pytest.fixture(autouse=True)
def validations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validate more often than every 50 steps, since these trainings are short."""
    monkeypatch.setattr(training, "VALIDATE_EVERY", 8)


def config_for(**sections: Any) -> RunConfig:
    document: dict[str, Any] = {
        "input": {"path": "a.zarr"},
        "output": {"path": "b.zarr"},
        "psf": {"kind": "identity"},
        **sections,
        "network": {"width": 4, "levels": 2, **sections.get("network", {})},
        "training": {**QUICK, **sections.get("training", {})},
    }
    return parse_config(document)


def gaussian_psf(axes: int = 2, sigma: float = 1.3) -> Psf:
    g = np.exp(-0.5 * (np.arange(-4, 5) / sigma) ** 2)
    values = np.einsum("z,y,x->zyx", g[2:-2] if axes == 3 else np.ones(1), g, g)
    return Psf((values / values.sum()).astype(np.float32))


def scene(
    shape: tuple[int, ...], psf: Psf | None, sigma: float = 0.05, seed: int = 0
) -> tuple[Measurement, np.ndarray]:
    """Return the measurement and the ground truth of regions with sharp edges, raw units."""
    rng = np.random.default_rng(seed)
    x = (ndimage.gaussian_filter(rng.standard_normal(shape), (min(3, shape[0] - 1), 3, 3)) > 0).astype(np.float64)
    y = x if psf is None else ndimage.convolve(x, psf.values.astype(np.float64), mode="reflect")
    y = OFFSET + SCALE * (y + sigma * rng.standard_normal(shape))
    observed = np.ones(shape, dtype=bool)
    return Measurement(y.astype(np.float32), observed), OFFSET + SCALE * x


def solved(
    config: RunConfig, seed: int = 1, axes: int = 2, start: Model | None = None, sigma: float = 0.05
) -> Solution:
    shape = (1, 72, 64) if axes == 2 else (16, 32, 32)
    psf = gaussian_psf(axes)
    measurement, _ = scene(shape, psf, sigma)
    return solve(
        build_problem(psf, calibrate([measurement], psf, config), config, "cpu"),
        measurement,
        seed,
        SolveOptions(start=start),
    )


def test_the_network_beats_the_linear_solution_which_beats_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "VALIDATE_EVERY", 25)
    psf = gaussian_psf()
    measurement, truth = scene((1, 128, 128), psf)
    options = {"steps": 200, "batch": 4, "patch": 64, "learning_rate": 5e-3}
    config = config_for(network={"width": 8, "levels": 3}, training=options)
    calibration = calibrate([measurement], psf, config)
    network = solve(build_problem(psf, calibration, config, "cpu"), measurement, 0)
    linear = solve(build_problem(psf, calibration, config_for(solver="wiener"), "cpu"), measurement, 0)

    def error(estimate: np.ndarray) -> float:
        return float(np.mean((estimate - truth)[0, 8:-8, 8:-8] ** 2))

    assert (network.method, linear.method) == ("network", "wiener")
    assert error(network.estimate) < 0.95 * error(linear.estimate) < 0.95 * error(measurement.y)
    assert network.heldout_after < network.heldout_wiener  # type: ignore[operator]


def without_light_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Return what the network computes: the scale that keeps the light of the image has a test in test_light.py."""
    monkeypatch.setattr(averaged, "with_light", lambda *given: given[-1])


@pytest.mark.parametrize("axes", [2, 3])
def test_a_solution_has_the_shape_of_the_domain_and_all_fields(axes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift_invariant, "_symmetries", lambda _: [])  # what is returned is what validation saw
    without_light_kept(monkeypatch)
    config = config_for(
        tiling={"dimensions": axes},
        training={"patch": {"z": 12, "y": 28, "x": 28}, "steps": 48, "learning_rate": 2e-3},
    )
    found = solved(config, 5, axes=axes, sigma=0.3)  # noise enough for a small network to better the linear solution
    assert found.estimate.shape == ((1, 72, 64) if axes == 2 else (16, 32, 32))
    assert found.estimate.dtype == np.float32
    assert np.isfinite(found.estimate).all()
    assert [step for step, _, _ in found.trace] == [0, 8, 16, 24, 32, 40, 48]
    assert (found.method, found.attempts, found.steps, found.note) == ("network", 1, 48, "")
    assert found.heldout_after in [heldout for _, _, heldout in found.trace]
    assert found.heldout_before == found.heldout_wiener  # the residual form starts there


def test_the_same_seed_gives_the_same_bytes() -> None:
    config = config_for()
    first = solved(config, seed=3)
    state = torch.get_rng_state()
    other = solved(config, seed=4)
    assert torch.equal(state, torch.get_rng_state())
    np.random.random(5)  # noqa: NPY002
    torch.rand(5)
    again = solved(config, seed=3)
    assert first.estimate.tobytes() == again.estimate.tobytes()
    assert first.trace[1:] == again.trace[1:]
    assert first.estimate.tobytes() != other.estimate.tobytes()


def test_denoising_without_a_psf() -> None:
    config = config_for(network={"width": 8, "levels": 3}, training={"steps": 150, "batch": 4})
    measurement, truth = scene((1, 96, 96), None, sigma=0.2)
    found = solve(build_problem(None, calibrate([measurement], None, config), config, "cpu"), measurement, 0)
    assert found.method == "network"
    assert np.mean((found.estimate - truth) ** 2) < 0.6 * np.mean((measurement.y - truth) ** 2)


def test_the_identity_solver_copies() -> None:
    measurement, _ = scene((1, 20, 20), None)
    config = config_for(solver="identity")
    found = solve(build_problem(None, calibrate([measurement], None, config), config, "cpu"), measurement, 0)
    assert found.method == "identity"
    np.testing.assert_array_equal(found.estimate, measurement.y)


def test_constant_tiles_are_not_trained_on() -> None:
    psf, config = gaussian_psf(), config_for()
    measurement, _ = scene((1, 64, 64), psf)
    calibration = calibrate([measurement], psf, config)
    flat = Measurement(np.full((1, 48, 48), 77.0, np.float32), np.ones((1, 48, 48), bool))
    found = solve(build_problem(psf, calibration, config, "cpu"), flat, 0)
    assert found.method == "constant"
    np.testing.assert_allclose(found.estimate, 77.0, rtol=1e-4)
    unseen = Measurement(measurement.y, np.zeros_like(measurement.observed))
    assert solve(build_problem(psf, calibration, config, "cpu"), unseen, 0).method == "constant"
    empty = solve(build_problem(psf, calibrate([flat], psf, config), config, "cpu"), flat, 0)
    assert empty.method == "constant"
    np.testing.assert_array_equal(empty.estimate, flat.y)


def test_too_few_pixels_give_the_linear_solution() -> None:
    psf, config = gaussian_psf(), config_for()
    measurement, _ = scene((1, 64, 64), psf)
    observed = np.zeros_like(measurement.observed)
    observed[:, 20:28, 20:28] = True
    found = solve(
        build_problem(psf, calibrate([measurement], psf, config), config, "cpu"),
        Measurement(measurement.y, observed),
        0,
    )
    assert found.method == "wiener"
    assert "few" in found.note


def at_rate(config: RunConfig, rate: float) -> RunConfig:
    """Return a configuration with a learning rate out of bounds, which ends in NaN."""
    return config.model_copy(update={"training": config.training.model_copy(update={"learning_rate": rate})})


@pytest.mark.parametrize("rate", [1e30, 30.0])
def test_a_failed_training_falls_back_to_the_linear_solution(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "AVERAGING", 0.0)
    found = solved(at_rate(config_for(training={"attempts": 3}), rate))
    psf = gaussian_psf()
    measurement, _ = scene((1, 72, 64), psf)
    calibration = calibrate([measurement], psf, config_for())  # for the network: its linear solution is the likeliest
    linear = solve(build_problem(psf, calibration, config_for(solver="wiener"), "cpu"), measurement, 1)
    assert (found.method, found.attempts) == ("wiener", 3)
    assert "linear solution kept" in found.note
    np.testing.assert_array_equal(found.estimate, linear.estimate)


def test_the_linear_fallback_estimates_the_light_outside_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its network's linear part does. As a mirror image, the light outside spoils a PSF's width of the image."""
    monkeypatch.setattr(training, "AVERAGING", 0.0)
    psf, margin = gaussian_psf(sigma=2.0), 8
    around, truth = scene((1, 64, 64), psf, seed=3)
    inside, own = (tuple(slice(n, -n) for n in (width, width)) for width in (12, margin))
    pads = [(0, 0), *((margin, margin),) * 2]
    image = np.pad(around.y[:, *inside], pads, mode="reflect")
    measurement = Measurement(image, np.pad(np.ones((1, 40, 40), bool), pads))
    config = config_for(training={"attempts": 1})
    calibration = dataclasses.replace(calibrate([measurement], psf, config), wiener_weight=0.01)

    def linear(c: RunConfig) -> Solution:
        options = SolveOptions(solver="wiener", weight=0.01)
        return solve(build_problem(psf, calibration, c, "cpu"), measurement, 1, options)

    alone, mirrored = linear(config), linear(config_for(solver="wiener"))
    errors = [float(np.mean((s.estimate[:, *own] - truth[:, *inside]) ** 2)) for s in (alone, mirrored)]
    assert errors[0] < 0.6 * errors[1]  # measured: 0.53
    assert alone.heldout_after is not None
    assert mirrored.heldout_after is not None
    assert alone.heldout_after < 0.3 * mirrored.heldout_after  # measured: 0.19

    monkeypatch.setattr("ssi_pipeline.inversion.solve.with_own_weight", lambda problem, tile, _: (problem, tile))
    failed = solve(build_problem(psf, calibration, at_rate(config, 1e30), "cpu"), measurement, 1)
    assert "linear solution kept" in failed.note
    np.testing.assert_array_equal(failed.estimate, linear(config).estimate)


def test_patience_stops_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "AVERAGING", 0.0)
    monkeypatch.setattr(training, "PATIENCE", 1)
    config = config_for(training={"learning_rate": 1.0, "attempts": 1, "steps": 80})
    psf = gaussian_psf()
    measurement, _ = scene((1, 72, 64), psf)
    problem = build_problem(psf, calibrate([measurement], psf, config), config, "cpu")
    tiles = [make_tile_tensors(problem, measurement, 0)]
    assert train(problem, tiles, Schedule.of(config, tiles), 0, 1, None, math.inf).steps < 80


@pytest.mark.parametrize(
    ("shape", "steps"),
    [((64, 64), 600), ((256, 256), 600), ((512, 512), 849), ((1024, 1024), 1200), ((64, 128, 128), 600)],
)
def test_a_large_tile_is_trained_for_longer(shape: tuple[int, ...], steps: int) -> None:
    """A whole image of text gains .8 dB. A tile of up to 256 x 256 pixels keeps its result; margins teach nothing."""
    padded = tuple(n + 64 for n in shape[-2:])
    y = torch.zeros((*shape[:-2], *padded))
    observed = torch.zeros(y.shape, dtype=torch.bool)
    observed[..., 32:-32, 32:-32] = True
    nothing: Any = None
    part = LinearPart(nothing, y)
    tile = TileTensors(observed, observed, observed, part, part)
    config = config_for(training={"steps": 600})
    assert Schedule.of(config, [tile]).steps == steps
    assert Schedule.of(config, [tile] * 4).steps == 1200  # on many: by their number alone


def test_no_feature_before_the_head_dies() -> None:
    """On a smooth tile on a bright background all but one of eight were constant after 50 steps, and f stayed at w."""
    options = {"steps": 50, "batch": 2, "patch": 64, "learning_rate": 4e-3}
    config = config_for(network={"width": 8, "levels": 3}, training=options)
    rng, psf = np.random.default_rng(0), gaussian_psf()
    smooth = ndimage.gaussian_filter(rng.standard_normal((1, 96, 96)), (0, 12, 12))
    y = OFFSET + SCALE * (0.6 + 0.1 * smooth / smooth.std() + 0.1 * rng.standard_normal(smooth.shape))
    measurement = Measurement(y.astype(np.float32), np.ones(y.shape, bool))
    problem = build_problem(psf, calibrate([measurement], psf, config), config, "cpu")
    tile, states = make_tile_tensors(problem, measurement, 0), []
    train(
        problem,
        [tile],
        Schedule.of(config, [tile]),
        0,
        1,
        None,
        math.inf,
        lambda _, s, __: states.append(copy.deepcopy(s)),
    )
    for state in (states[0], states[-1]):
        inverse, seen = build_inverse(problem, generator(0), state), []
        inverse.network.head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))  # noqa: B023
        apply(inverse, tile.channels)
        assert float(seen[0].flatten(2).std(2).min()) > 0.1  # of inputs of unit deviation; dead ones had 0.01


def test_the_constants_of_the_inputs_know_nothing_of_the_heldout_pixels() -> None:
    config, psf = config_for(training={"steps": 1}), gaussian_psf()
    measurement, _ = scene((1, 72, 64), psf)
    problem = build_problem(psf, calibrate([measurement], psf, config), config, "cpu")
    hidden = make_tile_tensors(problem, measurement, 0).heldout.numpy()
    other = Measurement(np.where(hidden[None], OFFSET, measurement.y).astype(np.float32), measurement.observed)
    states = [
        train(problem, [make_tile_tensors(problem, m, 0)], Schedule(1, 2), 0, 1, None, math.inf).state
        for m in (measurement, other)
    ]
    for name in ("mean", "spread"):
        assert torch.equal(states[0][name], states[1][name])


def test_a_training_is_given_up_where_it_will_not_reach_its_rival() -> None:
    falling = [(0, math.nan, 2.0), (50, 1.0, 1.6), (100, 1.0, 1.5), (150, 1.0, 1.4)]
    wobble = torch.tensor([0.1, -0.1] * 50, dtype=torch.float64)

    def given_up(rival: float, steps: int = 500, noise: float = 1.0) -> bool:
        return is_beaten(falling, steps, 1.4 + noise * wobble, rival - noise * wobble)

    assert not given_up(1.4)  # reached
    assert not given_up(1.1)  # falls by .2 in a fifth of the steps: twice that would do
    assert given_up(0.9)
    assert not given_up(0.9, steps=600)  # too early to tell
    assert not given_up(0.9, noise=30)  # no significant difference
    assert not is_beaten(falling, 500, 1.4 + wobble, None)


def test_training_stops_where_its_rival_has_won() -> None:
    config, psf = config_for(training={"steps": 80, "learning_rate": 1e-5}), gaussian_psf()
    measurement, _ = scene((1, 72, 64), psf)
    problem = build_problem(psf, calibrate([measurement], psf, config), config, "cpu")
    tile = make_tile_tensors(problem, measurement, 0)
    rival = 0.5 * heldout_errors(problem, tile, tile.channels[1])
    found = train(problem, [tile], Schedule.of(config, [tile]), 0, 1, None, math.inf, rival=rival)
    assert found.steps == 24  # the first validation after 30 % of 80 steps
    asked: list[bool] = []

    def concede(*_: object) -> bool:
        asked.append(len(asked) == 2)
        return asked[-1]

    found = train(problem, [tile], Schedule.of(config, [tile]), 0, 1, None, math.inf, rival=rival, concede=concede)
    assert (found.steps, asked) == (40, [False, False, True])  # corrected by the data it may still be as good


def test_a_tie_on_the_heldout_pixels_is_decided_by_more_of_them() -> None:
    """Both predict V alike; elsewhere the one is the linear solution, the other its negative."""
    measurement, _ = scene((1, 72, 64), gaussian_psf())
    config = config_for()
    problem = build_problem(gaussian_psf(), calibrate([measurement], gaussian_psf(), config), config, "cpu")
    tile = make_tile_tensors(problem, measurement, 0)
    errors = heldout_errors(problem, tile, tile.channels[1])

    def solution(sign: float) -> Solution:
        return Solution(
            measurement.y, "network", errors=errors, invert=lambda image, _: sign * problem.linear(image, None)[1]
        )

    assert worse_by(problem, tile, 0, solution(1.0), solution(-1.0)) < -2
    assert worse_by(problem, tile, 0, solution(-1.0), solution(1.0)) > 2
    assert worse_by(problem, tile, 0, solution(1.0), solution(1.0)) == 0


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("masking", {"density": 0.3}),
    ("masking", {"replacement": "zeros"}),
    ("masking", {"replacement": "random"}),
    ("network", {"width": 5}),
    ("network", {"levels": 1}),
    ("training", {"steps": 16}),
    ("training", {"patch": 48}),
    ("training", {"batch": 3}),
    ("training", {"learning_rate": 1e-3}),
    ("training", {"weight_l1": 1e-3}),
    ("training", {"weight_l2": 1e-2}),
    ("training", {"total_variation": 0.5}),
    ("training", {"bounds": {"upper": 100.0}}),
    ("training", {"bounds": {"lower": 200.0}}),
    ("training", {"precision": "bfloat16"}),
    ("sensor", {"impulse_share": 0}),
]

CONSTANTS: list[tuple[str, float]] = [
    ("masking.HELDOUT_SHARE", 0.1),
    ("network.training.AVERAGING", 0.5),
    ("network.training.VALIDATE_EVERY", 3),
    ("network.loss.KNEE", 2.0),
    ("network.loss._BOUNDS_WEIGHT", 10.0),
]


@pytest.fixture(scope="module")
def trainings() -> dict[str, tuple[Any, ...]]:
    """Return trace and parameters of a training per set of options."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "VALIDATE_EVERY", 8)
        made = {str((section, options)): _course(config_for(**{section: options})) for section, options in OPTIONS}
        made["default"] = _course(config_for())
    for name, value in CONSTANTS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "VALIDATE_EVERY", 8)
            patch.setattr(f"ssi_pipeline.inversion.{name}", value)
            bounded = {"bounds": {"upper": 100.0}} if "BOUNDS" in name else {}
            made[str((name, value))] = _course(config_for(training=bounded))
    return made


def _course(config: RunConfig) -> tuple[Any, ...]:
    psf = gaussian_psf()
    measurement, _ = scene((1, 72, 64), psf)
    measurement.y[0, ::17, ::13] = OFFSET + 2 * SCALE  # impulses
    problem = build_problem(psf, calibrate([measurement], psf, config), config, "cpu")
    tiles = [make_tile_tensors(problem, measurement, 0)]
    trained = train(problem, tiles, Schedule.of(config, tiles), 0, 1, None, math.inf)
    return (*trained.trace[1:], *(p.numpy().tobytes() for p in trained.state.values()))


@pytest.mark.parametrize("option", [*OPTIONS, *CONSTANTS], ids=str)
def test_every_option_and_constant_changes_the_training(option: tuple[str, Any], trainings: dict[str, Any]) -> None:
    name = str(option)
    assert all(trainings[name] != other for key, other in trainings.items() if key != name)


def test_the_estimate_is_averaged_over_the_symmetries_of_the_psf(monkeypatch: pytest.MonkeyPatch) -> None:
    without_light_kept(monkeypatch)
    measurement, _ = scene((1, 72, 64), gaussian_psf())
    estimates = {}
    for symmetric in (True, False):
        if not symmetric:
            monkeypatch.setattr(shift_invariant, "_symmetries", lambda _: [])
        config = config_for()
        calibration = calibrate([measurement], gaussian_psf(), config)
        found = solve(build_problem(gaussian_psf(), calibration, config, "cpu"), measurement, 1)
        assert found.model is not None
        estimates[symmetric] = found.estimate
        problem = build_problem(gaussian_psf(), calibration, config, "cpu")
        inverse = build_inverse(problem, generator(0), unpack(problem, found.model))
        flips = problem.forward.symmetries if symmetric else []
        assert len(flips) == (3 if symmetric else 0)  # up and down, left and right, transposed
        y = torch.from_numpy((measurement.y[0] - calibration.offset) / calibration.scale)
        each = []
        for bits in itertools.product((False, True), repeat=len(flips)):
            chosen = [flip for flip, on in zip(flips, bits, strict=True) if on]
            # f of the flipped image, all of it computed anew: the linear part has the same symmetries
            each.append(compose(chosen[::-1], apply(inverse, problem.linear(compose(chosen, y)))))
        expected = torch.stack(each).mean(0).numpy() * calibration.scale + calibration.offset
        heldout = [
            compose(chosen[::-1], apply(inverse, compose(chosen, make_tile_tensors(problem, measurement, 1).channels)))
            for chosen in (list(c) for n in range(len(flips) + 1) for c in itertools.combinations(flips, n))
        ]
        loss = heldout_loss(problem, make_tile_tensors(problem, measurement, 1), torch.stack(heldout).mean(0))
        assert found.heldout_after == pytest.approx(loss, rel=1e-5)  # of the returned estimate
        # float32 through two filters and a network, on values up to SCALE
        np.testing.assert_allclose(found.estimate[0], expected, rtol=0, atol=1e-4 * SCALE)
    assert not np.array_equal(estimates[True], estimates[False])


def test_the_clipping_sensor_changes_the_estimate() -> None:
    psf = gaussian_psf()
    measurement, truth = scene((1, 96, 96), psf, sigma=0.2)
    clipped = Measurement(np.clip(measurement.y, OFFSET, OFFSET + SCALE), measurement.observed)
    errors = {}
    for name, sensor in (("auto", {}), ("linear", {"low": "none", "high": "none"})):
        config = config_for(sensor=sensor, training={"steps": 80})
        found = solve(build_problem(psf, calibrate([clipped], psf, config), config, "cpu"), clipped, 0)
        errors[name] = float(np.mean((found.estimate - truth) ** 2))
    assert errors["auto"] < errors["linear"]


def test_unobserved_pixels_carry_no_loss() -> None:
    config = config_for()
    psf = gaussian_psf()
    measurement, _ = scene((1, 72, 64), psf)
    observed = measurement.observed.copy()
    observed[:, :30] = False
    calibration = calibrate([measurement], psf, config)
    trace = solve(build_problem(psf, calibration, config, "cpu"), Measurement(measurement.y, observed), 1).trace
    assert trace[1:] != solve(build_problem(psf, calibration, config, "cpu"), measurement, 1).trace[1:]


def test_saved_models_start_other_trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift_invariant, "_symmetries", lambda _: [])  # the loss of a start is that of f alone
    without_light_kept(monkeypatch)
    config = config_for()
    first = solved(config)
    assert first.model is not None
    path = tmp_path / "tile.pt"
    first.model.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["tile.pt"]
    loaded = Model.load(path)
    assert loaded.document == first.model.document
    assert all(np.array_equal(loaded.state[k], first.model.state[k]) for k in first.model.state)
    again = solved(config, start=loaded)
    assert again.heldout_before == pytest.approx(first.heldout_after)
    assert again.heldout_after < again.heldout_wiener  # type: ignore[operator]
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CorruptDataError):
        Model.load(path)


def test_a_model_of_another_network_is_refused() -> None:
    model = solved(config_for()).model
    with pytest.raises(ConfigError, match="network"):
        solved(config_for(network={"width": 6}), start=model)


def test_scores_are_left_out_on_request_and_nothing_else_changes() -> None:
    psf, config = gaussian_psf(), config_for(output={"path": "b.zarr", "uncertainty": 2})
    measurement, _ = scene((1, 48, 48), psf)
    problem = build_problem(psf, calibrate([measurement], psf, config), config, "cpu")
    whole, part = (
        solve(problem, measurement, 1, SolveOptions("richardson_lucy", weight=3, scored=scored))
        for scored in (True, False)
    )
    assert np.array_equal(part.estimate, whole.estimate)
    assert part.heldout_after == whole.heldout_after
    assert whole.scores
    assert (part.scores, part.uncertainty) == ({}, None)


def shared_setup(**sections: Any) -> tuple[list[Measurement], Psf, ChannelCalibration, RunConfig]:
    training = {"steps": 80, "learning_rate": 1e-2, **sections["training"]}
    psf, config = gaussian_psf(), config_for(training=training)
    measurements = [scene((1, 72, 64), psf, seed=s)[0] for s in range(3)]
    return measurements, psf, calibrate(measurements, psf, config), config


def test_a_shared_network_is_trained_once_and_applied_unchanged() -> None:
    measurements, psf, calibration, config = shared_setup(training={"scope": "shared"})
    model = train_shared(build_problem(psf, calibration, config, "cpu"), measurements, 0)
    assert model.document["calibration"] == calibration.to_json()
    found = solve(build_problem(psf, calibration, config, "cpu"), measurements[0], 0, SolveOptions(start=model))
    assert (found.method, found.steps) == ("network", 0)
    assert found.heldout_after is not None
    other = solve(build_problem(psf, calibration, config, "cpu"), measurements[0], 99, SolveOptions(start=model))
    np.testing.assert_array_equal(found.estimate, other.estimate)  # chance has no part in applying it


def test_where_total_variation_predicts_better_a_tile_takes_it_in_place_of_the_shared_network() -> None:
    """An untrained network is the Wiener filter."""
    measurements, psf, calibration, config = shared_setup(training={"scope": "shared", "select": "best"})
    problem = build_problem(psf, calibration, config, "cpu")
    start = SolveOptions(start=pack(problem, build_inverse(problem, generator(0)).state_dict()))
    taken, rival = (solve(problem, measurements[0], 0, o) for o in (start, SolveOptions("tv_cg")))
    alone = config.model_copy(update={"training": config.training.model_copy(update={"select": "network"})})
    network = solve(build_problem(psf, calibration, alone, "cpu"), measurements[0], 0, start)
    assert (taken.method, network.method) == ("tv_cg", "network")
    np.testing.assert_array_equal(taken.estimate, rival.estimate)
    assert taken.heldout_after == rival.heldout_after
    assert taken.heldout_after < network.heldout_after  # type: ignore[operator]
    assert "network held-out loss" in taken.note
    # a channel whose shared training failed is calibrated for it as well
    assert without_network(problem) == "tv_cg"
    assert without_network(build_problem(psf, dataclasses.replace(calibration, weights={}), config, "cpu")) == "wiener"


def test_a_shared_network_gives_the_same_in_a_tile_as_on_the_whole() -> None:
    measurements, psf, calibration, config = shared_setup(training={"scope": "shared"})
    model = train_shared(build_problem(psf, calibration, config, "cpu"), measurements, 0)
    whole, _ = scene((1, 160, 160), psf, seed=7)
    part = Measurement(whole.y[:, 20:140, 16:150].copy(), whole.observed[:, 20:140, 16:150].copy())
    one, two = (
        solve(build_problem(psf, calibration, config, "cpu"), m, 0, SolveOptions(start=model)).estimate
        for m in (whole, part)
    )
    halo = required_halo(config, psf.radius)[1]
    # float32 arithmetic in another order; SCALE grey values make 1e-5 of the range 0.004
    np.testing.assert_allclose(
        two[0, halo:-halo, halo:-halo], one[0, 20 + halo : 140 - halo, 16 + halo : 150 - halo], atol=1e-4 * SCALE
    )


def test_fine_tuning_starts_from_the_shared_network_and_takes_its_own_steps() -> None:
    measurements, psf, calibration, config = shared_setup(
        training={"scope": "fine_tune", "fine_tune_steps": 8, "learning_rate": 5e-3}
    )
    model = train_shared(build_problem(psf, calibration, config, "cpu"), measurements, 0)
    found = solve(build_problem(psf, calibration, config, "cpu"), measurements[0], 0, SolveOptions(start=model))
    assert found.steps == 8
    assert found.heldout_after < found.heldout_wiener  # type: ignore[operator]
    with pytest.raises(ConfigError, match="scope"):
        solve(build_problem(psf, calibration, config, "cpu"), measurements[0], 0)


def test_shared_training_reports_the_reason_of_its_failure() -> None:
    measurements, psf, calibration, config = shared_setup(training={})
    config = at_rate(config, 1e30)
    with pytest.raises(TrainingError, match="2 times"):
        train_shared(build_problem(psf, calibration, config, "cpu"), measurements, 0)
    flat = Measurement(np.zeros((1, 64, 64), np.float32), np.ones((1, 64, 64), bool))
    with pytest.raises(TrainingError, match="constant"):
        train_shared(build_problem(psf, calibration, config, "cpu"), [flat], 0)


def test_a_patch_smaller_than_the_psf_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.patch"):
        solved(config_for(training={"patch": 8}))


def test_the_latest_state_without_a_significant_difference_is_kept() -> None:
    errors = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    wobble = torch.tensor([0.4, -0.4, 0.4, -0.4], dtype=torch.float64)
    state = {"w": torch.zeros(1)}
    keeper = BestState(state, errors + 1, ceiling=2.9)
    keeper.offer(state, errors, 1)
    keeper.offer(state, errors + wobble + 0.1, 2)  # higher by less than the standard error, 0.23
    assert keeper.step == 2
    keeper.offer(state, errors + wobble + 0.3, 3)  # by more
    keeper.offer(state, errors + 4 * wobble + 0.45, 4)  # by less, but above the ceiling
    assert keeper.step == 2
    keeper.offer(state, errors - 0.1, 5)
    assert (keeper.step, keeper.loss) == (5, pytest.approx(2.4))


def test_the_cost_of_a_step_is_its_height_where_flat_and_grows_ever_less_at_edges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measurement, _ = scene((1, 72, 64), gaussian_psf())
    costs = {}
    for knee in (0.0, 0.2, 2.0):
        monkeypatch.setattr(objective_module, "KNEE", knee)
        config = config_for(training={"bounds": {"lower": None}})
        calibration = calibrate([measurement], gaussian_psf(), config)
        objective, noise = Objective(config, calibration), calibration.noise.variance(0.5)
        # one edge along x in 9 steps, nothing along y
        heights = (1e-4, 0.1, 1.0, 2.0)
        edges = [torch.cat([torch.zeros(1, 8, 5), torch.full((1, 8, 5), h)], dim=2) for h in heights]
        costs[knee] = [9 * float(objective.penalty(edge, [])) / noise for edge in edges]
    small, low, high, twice = costs[0.0]
    assert (small, low, high, twice) == pytest.approx((1e-4, 0.1, 1.0, 2.0), rel=1e-5)  # total variation
    for knee in (0.2, 2.0):
        assert costs[knee][0] == pytest.approx(small, rel=0.01)
        assert costs[knee][3] < 1.7 * costs[knee][2] < 1.7 * high
    assert costs[0.2][2] < costs[2.0][2]


@pytest.mark.parametrize(("patch", "batch", "period"), [(24, 2, 16), (12, 1, 72 * 64 // (12 * 12))])
def test_a_mask_is_used_until_the_tile_was_drawn_once_and_for_some_steps(patch: int, batch: int, period: int) -> None:
    config = config_for(network={"levels": 2}, training={"patch": patch, "batch": batch})
    measurement, _ = scene((1, 72, 64), gaussian_psf())
    problem = build_problem(gaussian_psf(), calibrate([measurement], gaussian_psf(), config), config, "cpu")
    tile = make_tile_tensors(problem, measurement, 0)
    batches = Batches(problem, [tile], Schedule(100, batch=batch), generator(0))
    with mock.patch.object(Batches, "_draw_mask", autospec=True, side_effect=Batches._draw_mask) as drawn:
        for _ in range(2 * period + 1):
            batches.draw()
    assert drawn.call_count == 3


def test_several_tiles_take_turns() -> None:
    config = config_for(training={"patch": 24, "batch": 2})
    measurement, _ = scene((1, 144, 144), gaussian_psf())
    problem = build_problem(gaussian_psf(), calibrate([measurement], gaussian_psf(), config), config, "cpu")
    tiles = [make_tile_tensors(problem, measurement, seed) for seed in range(5)]
    batches, order = Batches(problem, tiles, Schedule(100, batch=2), generator(0)), []
    for _ in range(100):
        batches.draw()
        order.append(next(i for i, tile in enumerate(tiles) if tile is batches._tile))
    # 100 steps, 5 tiles, each at least 4 times: 5 steps at a time, though one tile would take 18
    assert [len(set(order[i : i + 5])) for i in range(0, 100, 5)] == [1] * 20
    assert all(set(order[i : i + 25]) == set(range(5)) for i in range(0, 100, 25))


def test_the_configured_dark_level_is_the_lower_bound() -> None:
    measurement, _ = scene((1, 72, 64), gaussian_psf())
    measurement = Measurement(np.maximum(measurement.y, 1), measurement.observed)
    bounds = []
    for sensor in ({}, {"offset": 20.0}):
        config = config_for(sensor=sensor)
        calibration = calibrate([measurement], gaussian_psf(), config)
        bounds.append(normalised_bounds(config, calibration)[0] * calibration.scale + calibration.offset)
    assert bounds == pytest.approx([0.0, 20.0], abs=1e-3)


def test_a_network_that_predicts_worse_than_the_baseline_is_replaced_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps on a scene of flat regions, which favours total variation; the note has the reason."""
    monkeypatch.setattr(training, "VALIDATE_EVERY", 1)
    short = {"steps": 2}
    ours = solved(config_for(training={**short, "select": "network"}))
    best = solved(config_for(training={**short, "select": "best"}))
    baseline = solved(config_for(solver="tv_cg"))
    assert ours.heldout_after is not None
    assert best.heldout_after is not None
    assert best.method == "tv_cg"
    assert best.heldout_after < ours.heldout_after
    np.testing.assert_array_equal(best.estimate, baseline.estimate)
    assert "held-out loss" in best.note
    assert best.steps == ours.steps


def test_a_network_that_predicts_better_than_the_baseline_is_kept() -> None:
    """The baselines have an unsuitable weight, and too few iterations."""
    hopeless = {"classical": {"weight": 1e3, "iterations": 1}}
    ours = solved(config_for(training={"select": "network"}))
    kept = solved(config_for(training={"select": "best"}, **hopeless))
    assert kept.method == ours.method
    np.testing.assert_array_equal(kept.estimate, ours.estimate)
