"""The correction of a network's estimate by what it leaves of the measurement."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from classical_cases import PLAIN, as_measurement, blobs, config_for, gaussian_psf, measured
from torch import Tensor

from ssi_pipeline.inversion.linear.wiener import laplacian
from ssi_pipeline.inversion.network import consistency
from ssi_pipeline.inversion.network.batches import Schedule
from ssi_pipeline.inversion.network.checkpoint import unpack
from ssi_pipeline.inversion.network.consistency import WEIGHTS, Correction, chosen_weight
from ssi_pipeline.inversion.network.training import build_inverse, train
from ssi_pipeline.inversion.problem import Problem, apply, build_problem
from ssi_pipeline.inversion.solve import SolveOptions, solve, train_shared
from ssi_pipeline.inversion.tile import heldout_errors, make_tile_tensors
from ssi_pipeline.physics.fft_size import fast_size

SIDE = 20


def problem_of(sigma: float = 0.05, **sections: object) -> Problem:
    network = {"width": 4, "levels": 2}
    training = {"steps": 4, "batch": 1, "patch": 32, "attempts": 1, "select": "network", "start": "random"}
    config = config_for("ssi", network=network, training=training | sections)
    return build_problem(gaussian_psf(skew=0.4), dataclasses.replace(PLAIN, noise_sigma=sigma), config, "cpu")


def scene(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return an estimate, an image and its known pixels."""
    rng = torch.Generator().manual_seed(seed)
    estimate, image = (torch.rand((SIDE, SIDE), generator=rng) for _ in range(2))
    return estimate, image, torch.rand((SIDE, SIDE), generator=rng) > 0.2


@pytest.mark.parametrize("weight", [1.0, 0.1, 0.01])
def test_it_leads_to_the_minimum(weight: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consistency, "_ITERATIONS", 200)
    forward, (estimate, image, known) = problem_of().forward, scene()
    columns = [forward.level(e.reshape(SIDE, SIDE)).ravel() for e in torch.eye(SIDE * SIDE)]
    blur = torch.stack(columns, 1).double()[forward.crop(known).ravel()]
    left = forward.crop(image)[forward.crop(known)].double() - blur @ estimate.double().ravel()
    size = fast_size((SIDE, SIDE), forward.radius)
    response = torch.from_numpy(laplacian(size) ** 2) + 0.02
    rows = torch.eye(SIDE * SIDE).double().reshape(-1, SIDE, SIDE)
    smooth = torch.fft.irfftn(torch.fft.rfftn(rows, s=size) * response, s=size)[:, :SIDE, :SIDE]
    change = torch.linalg.solve(blur.T @ blur + weight * smooth.reshape(SIDE * SIDE, -1), blur.T @ left)
    found = (Correction(forward, image)(estimate, image, known, weight) - estimate).double().ravel()
    assert float((found - change).norm() / change.norm()) < 1e-3


def test_values_that_are_not_known_have_no_part_in_it() -> None:
    forward, (estimate, image, known) = problem_of().forward, scene()
    other = torch.where(known, image, torch.full_like(image, math.nan))
    assert torch.equal(*(Correction(forward, each)(estimate, each, known, 0.1) for each in (image, other)))
    everywhere = torch.ones_like(known)
    assert not torch.equal(*(Correction(forward, image)(estimate, image, each, 0.1) for each in (known, everywhere)))


def test_light_beyond_the_range_of_the_sensor_is_left_alone() -> None:
    """A pixel at its limit says that there is at least so much light."""
    calibration = dataclasses.replace(PLAIN, noise_sigma=0.02, clip_high=0.7)
    forward = build_problem(gaussian_psf(), calibration, config_for("ssi"), "cpu").forward
    scene = torch.from_numpy(blobs((40, 40))).float() * 0.9
    image, known = torch.zeros_like(scene), torch.ones_like(scene, dtype=torch.bool)
    forward.crop(image).copy_(forward.level(scene).clamp(max=0.7))
    assert float((forward.level(scene) > 0.75).float().mean()) > 0.1
    change = Correction(forward, image)(scene, image, known, 0.1) - scene
    assert float(change.abs().max()) < 0.02
    dimmer = forward.level(Correction(forward, image)(0.5 * scene, image, known, 0.1))
    assert float(dimmer.max()) > 0.6  # below the limit it is told


def test_an_infinite_weight_keeps_the_estimate() -> None:
    estimate, image, known = scene()
    assert Correction(problem_of().forward, image)(estimate, image, known, math.inf) is estimate


@pytest.mark.parametrize(
    ("losses", "weight"),
    [
        ((1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7), math.inf),
        ((1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0), math.inf),
        ((1.0, 0.9, 0.8, 0.7, 0.8, 0.9, 1.0, 1.1), WEIGHTS[2]),
        ((1.0, 0.9, 0.7005, 0.7, 0.8, 0.9, 1.0, 1.1), WEIGHTS[1]),  # as good, and nearer to the network's
        ((1.0, 0.9995, 0.9993, 0.9994, 1.1, 1.2, 1.3, 1.4), math.inf),  # no better for certain
    ],
)
def test_the_weight_is_the_largest_that_is_as_good_as_the_best(losses: tuple[float, ...], weight: float) -> None:
    noise = torch.randn((8, 10_000), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise -= noise.mean(1, keepdim=True)
    errors = {w: loss + 0.1 * noise[i] for i, (w, loss) in enumerate(zip((math.inf, *WEIGHTS), losses, strict=True))}
    found, kept = chosen_weight(errors.__getitem__)
    assert found == weight
    assert kept is errors[weight]


def test_a_correction_that_is_not_finite_is_none() -> None:
    without = torch.rand(100, dtype=torch.float64)
    weight, errors = chosen_weight(lambda w: without if math.isinf(w) else torch.full_like(without, math.nan))
    assert (weight, errors is without) == (math.inf, True)


def test_few_steps_on_bright_data_are_made_good() -> None:
    """Four steps leave most of a bright image unexplained, which the correction knows without any."""
    image = measured(blobs((64, 64)), gaussian_psf(skew=0.4), sigma=0.01)
    problem, given = problem_of(sigma=0.01), as_measurement(image, (0, 4, 4))
    found, tile = solve(problem, given, 3), make_tile_tensors(problem, given, 3)
    trained = train(problem, [tile], Schedule(4, 1), 3, 1, None, math.inf)
    assert found.heldout_after is not None
    assert found.heldout_after < 0.8 * trained.after
    assert found.invert is not None
    seen = tile.observed & ~tile.heldout
    again = heldout_errors(problem, tile, found.invert(tile.masked.image, seen))
    assert float(again.mean()) == pytest.approx(found.heldout_after, rel=1e-6)


@pytest.mark.parametrize("select", ["best", "network"])
def test_a_shared_network_is_corrected_unless_it_is_the_same_function_everywhere(select: str) -> None:
    image = measured(blobs((64, 64)), gaussian_psf(skew=0.4), sigma=0.01)
    problem = problem_of(sigma=0.01, scope="shared", select=select)
    given = as_measurement(image, (0, 4, 4))
    model = train_shared(problem, [given], 3)
    found, tile = solve(problem, given, 3, SolveOptions(start=model)), make_tile_tensors(problem, given, 3)
    inverse = build_inverse(problem, torch.Generator().manual_seed(0), unpack(problem, model))
    plain = float(heldout_errors(problem, tile, apply(inverse, tile.channels)).mean())
    assert found.heldout_after is not None
    assert (found.heldout_after < 0.8 * plain) == (select == "best")
