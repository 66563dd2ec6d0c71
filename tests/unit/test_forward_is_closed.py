"""The forward model is closed: a PSF that varies over the field works with every solver, and none uses a kernel."""

from __future__ import annotations

import ast
import dataclasses
import functools
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from classical_cases import PLAIN, as_measurement, blobs, config_for, huber, hyperbola, objective
from scipy import ndimage
from varying_model import VaryingModel, gaussian

import ssi_pipeline
from ssi_pipeline.inversion.assess.blind_metrics import blind_metrics_of
from ssi_pipeline.inversion.assess.signal_test import tile_is_noise_only
from ssi_pipeline.inversion.assess.uncertainty import uncertainty
from ssi_pipeline.inversion.classical import tv_chambolle_pock as primal_dual
from ssi_pipeline.inversion.classical import tv_conjugate_gradient as conjugate
from ssi_pipeline.inversion.classical.observation import Observation, observe
from ssi_pipeline.inversion.classical.richardson_lucy import iterates
from ssi_pipeline.inversion.classical.roughness import CURVED
from ssi_pipeline.inversion.classical.tv import linear_start
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.network.batches import Batches, Schedule
from ssi_pipeline.inversion.network.checkpoint import pack
from ssi_pipeline.inversion.problem import Problem, build_problem
from ssi_pipeline.inversion.solve import solve, solver_of
from ssi_pipeline.inversion.solver import AS_CONFIGURED
from ssi_pipeline.inversion.tile import TileTensors, make_tile_tensors
from ssi_pipeline.methods import SOLVERS
from ssi_pipeline.physics.psf import Psf

ROOT = Path(ssi_pipeline.__file__).parent

SHAPES = {2: (72, 64), 3: (20, 32, 30)}
RADII = {2: (5, 5), 3: (2, 4, 4)}
SIGMA = 0.02


@dataclasses.dataclass(frozen=True)
class Scene:
    """A scene with its problem, ``varying``; ``mean``: the same problem with the mean PSF."""

    truth: torch.Tensor
    varying: Problem
    mean: Problem
    measurement: Measurement
    tile: TileTensors
    observation: Observation


def scene(solver: str, axes: int) -> Scene:
    """Return a noisy image (z) y x whose blur increases along the first axis."""
    network, patch = {"width": 4, "levels": 2}, {"z": 12, "y": 24, "x": 24}
    training = {"steps": 100, "patch": {axis: patch[axis] for axis in "zyx"[-axes:]}}
    training |= {"learning_rate": 5e-3, "precision": "float32", "batch": 2}
    sections = {"sensor": {"impulse_share": 0}, "network": network, "training": training}
    sections |= {"output": {"path": "b", "uncertainty": 2}}
    config = config_for(solver, tiling={"dimensions": axes}, **sections)
    calibration = dataclasses.replace(PLAIN, noise_sigma=SIGMA, wiener_weight=0.01)
    narrow, wide = gaussian(RADII[axes], 0.7), gaussian(RADII[axes], 2.0)
    forward = VaryingModel(narrow, wide, calibration.sensor, SHAPES[axes][0])
    approximate = forward.approximate_psf if axes == 3 else forward.approximate_psf[None]
    mean = build_problem(Psf(approximate), calibration, config, "cpu")
    varying = dataclasses.replace(mean, forward=forward)
    truth = torch.from_numpy(ndimage.gaussian_filter(blobs(SHAPES[axes], seed=3), 0.5).astype(np.float32))
    y = truth.clone()
    varying.forward.crop(y).copy_(varying.forward.level(truth))
    y += SIGMA * torch.randn(y.shape, generator=generator(7))
    measurement = as_measurement(y.numpy())
    tile = make_tile_tensors(varying, measurement, 0)
    return Scene(truth, varying, mean, measurement, tile, observe(varying, tile.y, tile.observed))


def error(problem: Problem, x: torch.Tensor, truth: torch.Tensor) -> float:
    """Return the mean squared error on the predicted pixels."""
    return float(problem.forward.crop(x - truth).double().square().mean())


@pytest.mark.parametrize("axes", [2, 3])
def test_richardson_lucy_fits_the_image_and_is_nearer_to_the_ground_truth(axes: int) -> None:
    s = scene("richardson_lucy", axes)
    residuals, found = [], {}
    for name, problem in (("varying", s.varying), ("mean", s.mean)):
        for x in islice(iterates(problem, s.observation), 20):
            found[name] = x
            if name == "varying":
                residuals.append(error(problem, s.varying.forward(x), s.varying.forward.crop(s.observation.repaired)))
    assert all(b < a for a, b in pairwise(residuals))
    assert error(s.varying, found["varying"], s.truth) < 0.9 * error(s.varying, found["mean"], s.truth)


@pytest.mark.parametrize("axes", [2, 3])
def test_both_methods_of_total_variation_end_at_their_minimum(axes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They share only level and adjoint: each objective is evaluated at the other's minimum, without the Hessian."""
    monkeypatch.setitem(CURVED, axes, 0.0)
    s, weight, corner, smoothing = scene("tv", axes), 0.004, 0.01, conjugate.SMOOTHING
    start = primal_dual.begin(s.varying, s.observation)
    tv, *_ = next(islice(primal_dual.iterate(s.varying, s.observation, weight, start, corner), 300, None))
    steps = list(
        islice(conjugate.descend(s.varying, s.observation, weight, linear_start(s.varying, s.observation)), 300)
    )

    def by_huber(x: torch.Tensor) -> float:
        return objective(s.varying, s.observation, x, weight, lambda d: huber(d, corner))

    def by_hyperbola(x: torch.Tensor) -> float:
        return objective(s.varying, s.observation, x, weight, lambda d: hyperbola(d, smoothing))

    assert all(b <= a * (1 + 1e-6) for a, b in pairwise(map(by_hyperbola, steps)))
    assert by_huber(tv) < by_huber(steps[-1]) < by_huber(steps[0])
    assert by_hyperbola(steps[-1]) < by_hyperbola(tv) < by_hyperbola(steps[0])
    # the two round |D x| off in nearly the same way, so that their minimisers are neighbours
    assert error(s.varying, tv, steps[-1]) < 0.02 * error(s.varying, tv, s.truth)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("solver", ["tv", "tv_cg"])
def test_total_variation_is_nearer_to_the_ground_truth_than_with_the_mean_psf(solver: str, axes: int) -> None:
    s, solve = scene(solver, axes), {"tv": primal_dual.solve_tv, "tv_cg": conjugate.solve_tv_cg}[solver]
    varying, mean = (error(p, solve(p, s.observation, 0.004), s.truth) for p in (s.varying, s.mean))
    assert varying < 0.8 * mean


@pytest.mark.parametrize("axes", [2, 3])
def test_training_predicts_each_patch_with_the_psf_of_its_place(axes: int) -> None:
    s = scene("ssi", axes)
    s.varying.forward.crop(s.tile.y).copy_(s.varying.forward(s.truth))  # no noise: the ground truth has no loss
    batches = Batches(s.varying, [s.tile], Schedule(20, batch=2), generator(0))
    seen = set()
    for _ in range(8):
        batch = batches.draw()
        assert isinstance(batch.forward, VaryingModel)
        ends = [zip(origin, batch.x.shape[2:], strict=True) for origin in batch.forward.origins]
        patches = [s.truth[tuple(slice(first, first + n) for first, n in end)] for end in ends]
        predicted = batch.forward(torch.stack(patches))
        torch.testing.assert_close(predicted, batch.y, rtol=1e-4, atol=1e-5)
        seen.update(origin[0] for origin in batch.forward.origins)
    assert len(seen) > 4


def test_a_network_is_trained_and_scored() -> None:
    s = scene("ssi", 2)
    found, other = (solver_of("ssi")(problem, s.tile, 0, AS_CONFIGURED) for problem in (s.varying, s.mean))
    assert found.method == "network"
    assert found.heldout_after is not None
    assert found.heldout_wiener is not None
    assert found.heldout_after < found.heldout_wiener
    assert found.invert is not None
    assert other.invert is not None
    estimate = found.invert(s.tile.y, s.tile.observed)
    scores = blind_metrics_of(s.varying, s.tile, found.invert, estimate, 0)
    assert scores.keys() >= {"heldout_excess", "r2r_risk", "whiteness", "chi2"}
    of_mean = blind_metrics_of(s.varying, s.tile, other.invert, other.invert(s.tile.y, s.tile.observed), 0)
    assert scores["heldout_excess"] < 0.95 * of_mean["heldout_excess"]  # measured: 0.87
    known = uncertainty(s.varying, s.tile, found.invert, estimate, 2, 0)
    assert bool((known.deviation > 0).all())
    assert pack(s.varying, {}).document["psf_digest"] == s.varying.forward.digest


@pytest.mark.parametrize("axes", [2, 3])
def test_the_residual_of_the_ground_truth_is_the_noise(axes: int) -> None:
    s = scene("wiener", axes)
    chi2 = [blind_metrics_of(p, s.tile, lambda *_: s.truth, s.truth, 0)["chi2"] for p in (s.varying, s.mean)]
    assert chi2[0] == pytest.approx(1, abs=0.15)
    assert chi2[1] > 1.5
    assert not tile_is_noise_only(s.varying, s.tile)


@pytest.mark.parametrize("name", [name for name, row in SOLVERS.items() if row.tunes or row.network])
def test_a_tile_is_solved_and_scored_with_it_by_every_solver(name: str) -> None:
    s, weight = scene(name, 2), 10.0 if SOLVERS[name].counts else {"wiener": 0.01}.get(name, 0.004)
    problem = dataclasses.replace(s.varying, calibration=dataclasses.replace(s.varying.calibration, weight=weight))
    found = solve(problem, s.measurement, 0)
    assert np.isfinite(found.estimate).all()
    assert found.uncertainty is not None
    assert bool((found.uncertainty > 0).all())
    assert found.scores.keys() >= {"heldout_excess", "whiteness", "chi2"}


OWN_KERNELS = {"inversion/linear/wiener.py", "inversion/kobayashi2020/forward.py"}
"""Modules with kernels of their own: filters, and the published recipe."""

APPROXIMATE = {
    "inversion/problem.py",  # impulses, linear part
    "inversion/linear/prior_weight.py",
    "inversion/assess/signal_test.py",
    "inversion/assess/uncertainty.py",
    "inversion/assess/psf_width.py",  # the check of the given width
    "inversion/network/checkpoint.py",
    "inversion/kobayashi2020/solve.py",
}
"""Modules that may use a shift-invariant approximation: linear starts, the signal test, widths, model files, and the
published recipe, which has its own forward model."""


@functools.cache
def nodes() -> list[tuple[str, ast.AST]]:
    """Return every AST node of the package with its file, except for the physics."""
    files = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(ROOT.rglob("*.py"))}
    read = {where: ast.parse(text, where) for where, text in files.items() if not where.startswith("physics/")}
    return [(where, node) for where, tree in read.items() for node in ast.walk(tree)]


def test_only_the_physics_names_an_implementation_or_convolves() -> None:
    allowed = {"physics.shift_invariant": set[str](), "physics.convolution": OWN_KERNELS}
    for where, node in nodes():
        if isinstance(node, ast.ImportFrom):
            for module, who in allowed.items():
                if node.module == f"ssi_pipeline.{module}":
                    assert where in who, f"{where}, line {node.lineno}: ask the ForwardModel instead of {module}"


def test_no_module_accesses_a_kernel() -> None:
    reached = set()
    for where, node in nodes():
        if not isinstance(node, ast.Attribute):
            continue
        owner = ast.unparse(node.value)
        assert node.attr != "convolution", f"{where}, line {node.lineno}: {ast.unparse(node)}"
        assert node.attr != "psf" or not owner.endswith("problem"), f"{where}, line {node.lineno}: {ast.unparse(node)}"
        private = node.attr.startswith("_") and not node.attr.startswith("__") and owner.endswith("forward")
        assert not private, f"{where}, line {node.lineno}: {ast.unparse(node)}"
        if node.attr == "approximate_psf":
            reached.add(where)
    assert reached == APPROXIMATE
