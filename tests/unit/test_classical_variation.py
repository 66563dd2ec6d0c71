"""Total variation: agreement with the minimisers of independent programs."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import sys
from collections.abc import Callable
from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from classical_cases import (
    PLAIN,
    as_measurement,
    blobs,
    clipping,
    gaussian_psf,
    huber,
    hyperbola,
    measured,
    objective,
    problem_for,
    smoothed_objective,
)
from scipy import ndimage, optimize, signal, sparse, stats
from skimage.restoration import denoise_tv_chambolle

from ssi_pipeline.inversion.classical import tv_chambolle_pock as primal_dual
from ssi_pipeline.inversion.classical import tv_conjugate_gradient as conjugate
from ssi_pipeline.inversion.classical.observation import Observation
from ssi_pipeline.inversion.classical.roughness import CURVED
from ssi_pipeline.inversion.classical.tv import linear_start
from ssi_pipeline.inversion.differences import differences, differences_adjoint
from ssi_pipeline.inversion.problem import Problem

SIGMA = 0.1

Solve = Callable[[Problem, Observation, float], torch.Tensor]


@pytest.mark.parametrize("shape", [(7, 9), (4, 6, 5)])
def test_the_adjoint_of_the_differences(shape: tuple[int, ...]) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    p = torch.randn((len(shape), *shape), generator=rng, dtype=torch.float64)
    for axis, n in enumerate(shape):
        p[axis].narrow(axis, n - 1, 1).zero_()
    assert float((differences(x) * p).sum()) == pytest.approx(float((x * differences_adjoint(p)).sum()), rel=1e-12)


@pytest.mark.parametrize("shape", [(30, 34), (8, 12, 14)])
def test_without_blur_it_is_chambolle_s_denoising(shape: tuple[int, ...]) -> None:
    """Both results are as close to the minimum x* as their duality gaps guarantee.

    The objective E is 1-strongly convex, so |x - x*|^2 <= 2 (E(x) - least), and any u with |u| <= weight bounds the
    least from below: (|y|^2 - |y - D* u|^2) / 2.
    """
    y, weight = measured(blobs(shape), None, sigma=SIGMA), 0.2
    problem, observation = problem_for("tv", None, y)
    expected = denoise_tv_chambolle(y.astype(np.float64), weight=weight, eps=1e-12, max_num_iter=1000)
    iterates = primal_dual.iterate(problem, observation, weight, primal_dual.begin(problem, observation), corner=0)
    found, _, dual = next(islice(iterates, 500, None))
    exact = torch.from_numpy(y.astype(np.float64))
    u = dual.double() / (torch.linalg.vector_norm(dual.double(), dim=0) / weight).clamp(min=1)
    bound = float(exact.square().sum() - (exact - differences_adjoint(u)).square().sum()) / 2

    def distance(x: torch.Tensor) -> float:
        slopes = torch.linalg.vector_norm(differences(x), dim=0)
        gap = float((x - exact).square().sum()) / 2 + weight * float(slopes.sum()) - bound
        assert gap > 0
        return math.sqrt(2 * gap)

    ours, theirs = distance(found.double()), distance(torch.from_numpy(expected))
    assert ours < 0.02 * math.sqrt(y.size) * SIGMA  # a fiftieth of the noise in each pixel
    assert np.linalg.norm(found.numpy() - expected) < ours + theirs


def penalised(shape: tuple[int, ...], scales: tuple[float, ...], curved: bool) -> list[sparse.csr_matrix]:
    """Return the slopes of a flat image as matrices, and with ``curved`` the different components of its Hessian."""

    def along(axis: int, rows: np.ndarray) -> sparse.csr_matrix:
        return functools.reduce(
            sparse.kron, [sparse.csr_matrix(rows if a == axis else np.eye(n)) for a, n in enumerate(shape)]
        )

    def differences(axis: int, order: int) -> sparse.csr_matrix:
        n = shape[axis]
        return along(axis, scales[axis] ** order * np.pad(np.diff(np.eye(n), order, axis=0), ((0, order), (0, 0))))

    slopes, pure = ([differences(axis, order) for axis in range(len(shape))] for order in (1, 2))
    mixed = [math.sqrt(2) * a @ b for a, b in itertools.combinations(slopes, 2)]
    return [*slopes, *(CURVED[len(shape)] * second for second in (*pure, *mixed))] if curved else slopes


def reference(
    y: np.ndarray,
    psf: np.ndarray,
    weight: float,
    low: float,
    smoothing: float = 0.0,
    corner: float = 0.0,
    floor: float | None = None,
    curved: bool = False,
    scales: tuple[float, ...] = (1.0, 1.0, 1.0),
) -> float:
    """Return the least objective for a hyperbola or Huber's function over x >= floor, by L-BFGS-B in float64."""
    shape = y.shape
    inner = tuple(slice(n // 2, -(n // 2)) for n in psf.shape)
    seen, clipped = y[inner].astype(np.float64), y[inner] <= low
    # the convolution as a matrix, from its definition: one column for each pixel of x
    columns = [signal.convolve(e.reshape(shape), psf, mode="valid", method="direct").ravel() for e in np.eye(y.size)]
    matrix, rough = np.stack(columns, axis=1), penalised(shape, scales, curved)

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        z = (matrix @ flat).reshape(seen.shape)
        t = (low - z) / SIGMA if np.isfinite(low) else np.zeros_like(z)
        ratio = np.exp(stats.norm.logpdf(t) - stats.norm.logcdf(t))
        each = np.where(clipped, -(SIGMA**2) * stats.norm.logcdf(t), (z - seen) ** 2 / 2)
        gradient = matrix.T @ np.where(clipped, SIGMA * ratio, z - seen).ravel()
        steps = [r @ flat for r in rough]
        length = np.sqrt(sum(s**2 for s in steps) + smoothing**2)
        variation = np.where(length > corner, length - corner / 2, length**2 / (2 * corner or 1))
        for r, step in zip(rough, steps, strict=True):
            gradient += weight * (r.T @ (step / np.maximum(length, corner)))
        return float(each.sum() + weight * variation.sum()), gradient

    options = {"maxiter": 3000, "maxfun": 6000, "ftol": 1e-13, "gtol": 1e-9}
    return float(
        optimize.minimize(
            value,
            y.ravel().astype(np.float64),
            jac=True,
            options=options,
            method="L-BFGS-B",
            bounds=None if floor is None else [(floor, None)] * y.size,
        ).fun
    )


def case(axes: int, clipped: bool) -> tuple[Problem, Observation, np.ndarray, np.ndarray, float]:
    psf = gaussian_psf(axes, skew=0.4)
    y = measured(blobs((20, 21) if axes == 2 else (6, 12, 13)), psf, sigma=SIGMA)
    y = np.maximum(np.round(256 * y) / 256, 0).astype(np.float32) if clipped else y  # the steps of a camera
    problem, observation = problem_for("tv", psf, y, clipping(SIGMA) if clipped else PLAIN)
    kernel = (psf.values if axes == 3 else psf.values[0]).astype(np.float64)
    return problem, observation, y, kernel, 0.0 if clipped else -np.inf


@pytest.mark.parametrize(("axes", "clipped"), [(2, False), (2, True), (3, True)])
def test_conjugate_gradients_end_at_the_minimum_and_always_descend(axes: int, clipped: bool) -> None:
    problem, observation, y, kernel, low = case(axes, clipped)
    weight = 0.03
    estimates = islice(conjugate.descend(problem, observation, weight, linear_start(problem, observation)), 300)
    values = [smoothed_objective(problem, observation, x, weight) for x in estimates]
    # float32 sums of about 1000 terms: equal values differ in the seventh digit
    assert all(b <= a * (1 + 1e-6) for a, b in pairwise(values))
    least = reference(y, kernel, weight, low, smoothing=conjugate.SMOOTHING, curved=True)
    assert values[-1] == pytest.approx(least, rel=1e-4)


@pytest.mark.parametrize(("axes", "clipped"), [(2, False), (2, True), (3, True)])
def test_the_primal_dual_method_ends_at_the_minimum(axes: int, clipped: bool) -> None:
    problem, observation, y, kernel, low = case(axes, clipped)
    weight, corner = 0.03, 0.06
    start = primal_dual.begin(problem, observation)

    def value(x: torch.Tensor) -> float:
        return objective(problem, observation, x, weight, lambda d: huber(d, corner))

    estimates = [x for x, *_ in islice(primal_dual.iterate(problem, observation, weight, start, corner), 200)]
    least = reference(y, kernel, weight, low, corner=corner)
    assert value(estimates[14]) < value(start[0])
    # what one candidate of the path is observation, and the default; measured: 0.5 and 1.4 %, 0.005 %
    assert value(estimates[14]) < least * 1.02
    assert value(estimates[49]) == pytest.approx(least, rel=2e-4)
    assert value(estimates[-1]) == pytest.approx(least, rel=1e-6)


@pytest.mark.parametrize("method", ["conjugate gradients", "primal-dual"])
def test_both_end_at_the_minimum_where_voxels_are_no_cubes(method: str) -> None:
    weight, corner, scales = 0.03, 0.06, (0.25, 1.0, 0.5)
    psf = dataclasses.replace(gaussian_psf(3, skew=0.4), voxel_size_um=(0.4, 0.1, 0.2))
    y = measured(blobs((6, 12, 13)), psf, sigma=SIGMA)
    problem, observation = problem_for("tv", psf, y)
    kernel = psf.values.astype(np.float64)
    if method == "primal-dual":
        start = primal_dual.begin(problem, observation)
        x, *_ = next(islice(primal_dual.iterate(problem, observation, weight, start, corner), 200, None))
        found = objective(problem, observation, x, weight, lambda d: huber(d, corner))
        least = reference(y, kernel, weight, -np.inf, corner=corner, scales=scales)
    else:
        estimates = conjugate.descend(problem, observation, weight, linear_start(problem, observation))
        found = smoothed_objective(problem, observation, next(islice(estimates, 300, None)), weight)
        least = reference(y, kernel, weight, -np.inf, smoothing=conjugate.SMOOTHING, curved=True, scales=scales)
    assert found == pytest.approx(least, rel=1e-4)


def test_both_end_at_the_minimum_above_the_dark_level() -> None:
    """The bound is far above the darkest pixels of the unconstrained minimum, so that a third of them is on it."""
    psf, weight, corner, floor = gaussian_psf(skew=0.4), 0.03, 0.06, 0.2
    y = measured(blobs((20, 21)), psf, sigma=SIGMA)
    problem, observation = problem_for("tv", psf, y, dataclasses.replace(PLAIN, floor=floor))
    kernel = psf.values[0].astype(np.float64)
    start = linear_start(problem, observation)
    estimates = list(islice(conjugate.descend(problem, observation, weight, start), 200))
    values = [smoothed_objective(problem, observation, x, weight) for x in estimates]
    assert all(b <= a * (1 + 1e-6) for a, b in pairwise(values))
    assert all(float(x.min()) >= floor for x in estimates)
    assert float((estimates[-1] == floor).float().mean()) > 0.3
    least = reference(y, kernel, weight, -np.inf, smoothing=conjugate.SMOOTHING, floor=floor, curved=True)
    assert values[-1] == pytest.approx(least, rel=1e-4)
    iterates = primal_dual.iterate(problem, observation, weight, primal_dual.begin(problem, observation), corner, floor)
    x = next(islice(iterates, 300, None))[0]
    assert float(x.min()) > floor - 1e-4
    found = objective(problem, observation, x, weight, lambda d: huber(d, corner))
    assert found == pytest.approx(reference(y, kernel, weight, -np.inf, corner=corner, floor=floor), rel=1e-4)


def test_without_a_corner_it_ends_at_the_minimum_of_total_variation() -> None:
    problem, observation, y, kernel, low = case(2, clipped=True)
    weight, smoothing = 0.03, 1e-4
    iterates = primal_dual.iterate(problem, observation, weight, primal_dual.begin(problem, observation), corner=0)
    x, *_ = next(islice(iterates, 500, None))
    found = objective(problem, observation, x, weight, lambda d: hyperbola(d, 0.0))
    least = reference(y, kernel, weight, low, smoothing=smoothing)
    # the smoothing raises each of the N slopes by at most itself
    assert least - weight * smoothing * y.size < found * (1 + 1e-5)
    assert found < least * 1.0005


def test_values_of_unobserved_pixels_are_ignored() -> None:
    psf = gaussian_psf()
    y = measured(blobs((30, 30)), psf)
    problem, observation = problem_for("tv", psf, y)
    known, other = observation.known.clone(), observation.repaired.clone()
    known[12:15, 12:15] = False
    other[12:15, 12:15] = 9.0
    first = primal_dual.begin(problem, observation)

    def after_ten(image: torch.Tensor, seen: torch.Tensor) -> list[torch.Tensor]:
        look = Observation(image, seen)
        x, *_ = next(islice(primal_dual.iterate(problem, look, 0.02, first, 0.06), 10, None))
        return [x, next(islice(conjugate.descend(problem, look, 0.02, first[0]), 10, None))]

    for one, two, full in zip(
        after_ten(observation.repaired, known),
        after_ten(other, known),
        after_ten(observation.repaired, observation.known),
        strict=True,
    ):
        assert torch.equal(one, two)
        assert not torch.equal(one, full)


@pytest.mark.parametrize("solve", [primal_dual.solve_tv, conjugate.solve_tv_cg])
def test_a_scene_that_ends_at_the_border_of_the_image_stays_bright_there(solve: Solve) -> None:
    """The unobserved margin is empty: with a penalty on the step across the border, the outermost pixels lost 0.38."""
    psf, sigma = gaussian_psf(), 0.05
    blurred = ndimage.convolve(np.ones((24, 26)), psf.values[0].astype(np.float64), mode="constant")
    noisy = blurred + sigma * np.random.default_rng(1).standard_normal(blurred.shape)
    tile = as_measurement(noisy, (0, 4, 4))
    problem, _ = problem_for("tv", psf, tile.y[0])
    found = solve(problem, Observation(torch.from_numpy(tile.y[0]), torch.from_numpy(tile.observed[0])), 0.03)[
        4:-4, 4:-4
    ]
    for ring in (found[0], found[-1], found[:, 0], found[:, -1]):
        assert abs(float(ring.mean()) - 1) < sigma


@pytest.mark.parametrize("solve", [primal_dual.solve_tv, conjugate.solve_tv_cg])
def test_the_number_of_iterations_acts(solve: Solve, monkeypatch: pytest.MonkeyPatch) -> None:
    psf = gaussian_psf()
    y = measured(blobs((30, 30)), psf)
    made = []
    for count in (5, 6):
        monkeypatch.setattr(sys.modules[solve.__module__], "TV_ITERATIONS", count)
        made.append(solve(*problem_for("tv", psf, y), 0.02))
    assert not torch.equal(*made)
