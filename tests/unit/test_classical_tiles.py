"""Classical solvers in tiles: difference of a tile's core from the result on the whole volume."""

from __future__ import annotations

import pytest
import torch
from classical_cases import blobs, clipping, config_for, gaussian_psf, measured, problem_for

from ssi_pipeline.geometry import Volume, make_plan
from ssi_pipeline.geometry.halo import UNBIAS_RADIUS
from ssi_pipeline.inversion.classical import tv_chambolle_pock as primal_dual
from ssi_pipeline.inversion.classical import tv_conjugate_gradient as conjugate
from ssi_pipeline.inversion.classical.observation import Observation
from ssi_pipeline.inversion.classical.registry import CLASSICAL
from ssi_pipeline.needs import required_halo, tiling_request

GIB = 2**30
NOISE = 0.1

FLOAT32 = 1e-5
"""Rounding in units of the noise: eight units in the last place of estimates of about 1. Measured: 5e-6 with the
required halo, 1.7e-5 and more with a halo that is 6 pixels smaller."""


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(
    ("name", "weight", "tolerance"),
    [("wiener", 0.5, FLOAT32), ("richardson_lucy", 5, 0.02), ("tv", 0.03, 0.05), ("tv_cg", 0.03, 0.2)],
)
def test_a_tile_s_core_is_that_of_the_whole(name: str, weight: float, tolerance: float, axes: int) -> None:
    """Tolerances in units of the noise.

    The Wiener filter and the correction of the clipping bias have a finite reach: the difference is rounding. Total
    variation flattens regions of any size, and its iterations stop before the minimum.
    """
    assert largest_difference(name, weight, axes, 0) < tolerance


@pytest.mark.parametrize("axes", [2, 3])
def test_a_halo_without_the_reach_of_the_bias_correction_is_too_small(axes: int) -> None:
    assert largest_difference("wiener", 0.5, axes, UNBIAS_RADIUS) > 1.5 * FLOAT32


def largest_difference(name: str, weight: float, axes: int, short: int) -> float:
    """Return the largest difference of a core from the whole in units of the noise; the halo lacks ``short`` pixels."""
    psf, calibration = gaussian_psf(axes), clipping(NOISE)
    shape = (90, 92) if axes == 2 else (32, 64, 64)
    y = measured(blobs(shape), psf, sigma=NOISE).clip(0)
    problem, observation = problem_for(name, psf, y, calibration)
    z, *plane = required_halo(problem.config, psf.radius)
    halo = (z, *(h - short for h in plane))[3 - axes :]
    cut = tuple(slice(n // 8, n - n // 8 + 1) for n in shape)
    tile = Observation(observation.repaired[cut].contiguous(), observation.known[cut].contiguous())
    with pytest.MonkeyPatch.context() as patch:
        for module in (primal_dual, conjugate):
            patch.setattr(module, "TV_ITERATIONS", 40)  # those of the tolerances
        whole = CLASSICAL[name].solve(problem, observation, weight)[cut]
        part = CLASSICAL[name].solve(problem, tile, weight)
    off = (part - whole)[tuple(slice(h, -h) for h in halo)].abs()
    assert off.numel() > 100
    return float(off.max()) / NOISE


def test_an_exact_reach_is_taken_where_it_is_the_smaller_one() -> None:
    auto = config_for("richardson_lucy")
    one = config_for("richardson_lucy", classical={"iterations": 1})
    radius = (0, 4, 4)
    assert required_halo(one, radius)[1] < required_halo(auto, radius)[1]
    psf = gaussian_psf()
    y = measured(blobs((80, 80)), psf).clip(0)
    problem, observation = problem_for("richardson_lucy", psf, y, classical={"iterations": 1})
    halo = required_halo(problem.config, psf.radius)[1]
    whole = CLASSICAL["richardson_lucy"].solve(problem, observation, 1)[10:70, 10:70]
    part = CLASSICAL["richardson_lucy"].solve(
        problem, Observation(observation.repaired[10:70, 10:70], observation.known[10:70, 10:70]), 1
    )
    # float32 FFTs of different sizes
    torch.testing.assert_close(part[halo:-halo, halo:-halo], whole[halo:-halo, halo:-halo], rtol=0, atol=1e-5)


@pytest.mark.parametrize("solver", ["richardson_lucy", "tv", "tv_cg"])
def test_tiles_of_iterative_solvers_are_blended_and_padded(solver: str) -> None:
    volume = Volume("yx", (1, 1, 1, 4000, 4000), "uint16")
    request, linear = (tiling_request(config_for(name), (0, 4, 4)) for name in (solver, "wiener"))
    plan = make_plan(volume, request, 8 * GIB)
    assert all(b > 0 for b in plan.blend[1:])
    assert plan.pad == (0, 4, 4)
    assert plan.stride == (1, 1, 1)
    assert not any(make_plan(volume, linear, 8 * GIB).blend)
    assert request.needs.worker_bytes(plan.domain_shape) >= linear.needs.worker_bytes(plan.domain_shape)
