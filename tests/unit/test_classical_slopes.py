"""What total variation penalises: slopes and their differences per length, not per voxel, and none across a border."""

from __future__ import annotations

import dataclasses
from itertools import islice

import numpy as np
import pytest
import torch
from classical_cases import blobs, gaussian_psf, measured, problem_for, smoothed_objective
from numpy.typing import NDArray

from ssi_pipeline.inversion.classical import tv_conjugate_gradient as conjugate
from ssi_pipeline.inversion.classical.roughness import CURVED, Roughness
from ssi_pipeline.inversion.classical.slopes import Slopes, slopes_of
from ssi_pipeline.inversion.classical.tv import linear_start
from ssi_pipeline.inversion.differences import across
from ssi_pipeline.physics.psf import Psf, VoxelSize


def psf_with(voxel: VoxelSize | None, axes: int = 3) -> Psf:
    return dataclasses.replace(gaussian_psf(axes), voxel_size_um=voxel)


def image(axes: int = 3) -> NDArray[np.float32]:
    return measured(blobs((14, 18, 20)[-axes:]), gaussian_psf(axes), sigma=0.1)


@pytest.mark.parametrize(
    ("voxel", "axes", "scales"),
    [
        (None, 3, (1, 1, 1)),
        ((0.3, 0.1, 0.1), 3, (1 / 3, 1, 1)),
        ((0.1, 0.2, 0.2), 3, (1, 0.5, 0.5)),
        ((9.0, 0.1, 0.1), 2, (1, 1)),
    ],
)
def test_scales_are_those_of_the_voxel(voxel: VoxelSize | None, axes: int, scales: tuple[float, ...]) -> None:
    problem, _ = problem_for("tv", psf_with(voxel, axes), image(axes))
    assert problem.scales == pytest.approx(scales)


def test_a_ramp_is_as_steep_along_every_axis_of_space() -> None:
    problem, observation = problem_for("tv", psf_with((0.3, 0.1, 0.2)), image())
    slopes, place = slopes_of(problem, observation), np.meshgrid(*map(np.arange, (14, 18, 20)), indexing="ij")
    for axis, side in enumerate((0.3, 0.1, 0.2)):
        found = slopes(torch.from_numpy(place[axis] * side).float())[axis].narrow(axis, 0, 10)
        torch.testing.assert_close(found, torch.full_like(found, 0.1))


def test_the_adjoint() -> None:
    rng, slopes = torch.Generator().manual_seed(0), Slopes((0.25, 1.0, 0.5), ((1, 2),))
    x, other = (torch.randn((4, 6, 5), generator=rng) for _ in range(2))
    p = Slopes((1.0, 1.0, 1.0), slopes.ends)(other)  # 0 across the border, and at the far ends
    assert float((slopes(x) * p).sum()) == pytest.approx(float((x * slopes.adjoint(p)).sum()), rel=1e-4)


def test_few_iterations_come_near_to_the_minimum() -> None:
    problem, observation = problem_for("tv_cg", psf_with((1.0, 0.1, 0.1)), image())
    steps = islice(conjugate.descend(problem, observation, 0.02, linear_start(problem, observation)), 100)
    values = [smoothed_objective(problem, observation, x, 0.02) for x in steps]
    assert values[conjugate.TV_ITERATIONS - 1] < 1.006 * values[-1]


CUT = Slopes((0.25, 1.0, 0.5), across((slice(2, 6), slice(1, 5), slice(0, 6)), (8, 7, 6)))
"""Slopes within a box of an image, and outside of it."""


def test_the_pull_is_the_slope_of_the_squares() -> None:
    rng, rough = torch.Generator().manual_seed(0), Roughness(CUT)
    x, change, weights = (torch.rand((8, 7, 6), generator=rng, dtype=torch.float64) for _ in range(3))
    cross, square = rough.along(x, change)
    assert float((weights * cross).sum()) == pytest.approx(float((rough.pull(x, weights) * change).sum()), rel=1e-12)
    torch.testing.assert_close(square, rough.squares(change))
    torch.testing.assert_close(rough.squares(x + change), rough.squares(x) + 2 * cross + square)


def test_a_ramp_is_not_curved_and_a_scene_may_end_at_the_border() -> None:
    scene = torch.zeros((8, 7, 6))
    z, y, x = np.meshgrid(*map(np.arange, (4, 4, 6)), indexing="ij")
    scene[2:6, 1:5, :6] = 5 + torch.from_numpy(z + 2.0 * y - x).float()
    torch.testing.assert_close(Roughness(CUT).squares(scene), CUT(scene).square().sum(0))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_parabola_is_as_curved_along_every_axis_of_space(axis: int) -> None:
    sides = (0.3, 0.1, 0.2)
    problem, observation = problem_for("tv_cg", psf_with(sides), image())
    slopes, place = slopes_of(problem, observation), np.meshgrid(*map(np.arange, (14, 18, 20)), indexing="ij")
    scene = torch.from_numpy((place[axis] * sides[axis]) ** 2 / 2)
    found = Roughness(slopes).squares(scene) - slopes(scene).square().sum(0)
    inside = found.narrow(axis, 0, scene.shape[axis] - 2)
    torch.testing.assert_close(
        inside, torch.full_like(inside, CURVED[3] ** 2 * 1e-4), rtol=1e-6, atol=0
    )  # 0.1^2 per voxel, squared
    assert not bool(found.narrow(axis, scene.shape[axis] - 2, 2).any())
