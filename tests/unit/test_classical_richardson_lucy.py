"""Richardson-Lucy: agreement with scikit-image in the interior, and the fixed point with a clipping sensor."""

from __future__ import annotations

import dataclasses
from itertools import islice

import numpy as np
import pytest
import torch
from classical_cases import PLAIN, blobs, blur, clipping, gaussian_psf, measured, problem_for
from skimage.restoration import richardson_lucy

from ssi_pipeline.inversion.classical.richardson_lucy import dark_level, iterates, solve_richardson_lucy


@pytest.mark.parametrize("axes", [2, 3])
def test_it_agrees_with_scikit_image_in_the_interior(axes: int) -> None:
    psf = gaussian_psf(axes, skew=0.5)
    y = measured(blobs((60, 64) if axes == 2 else (24, 48, 40)), psf).clip(0.01)
    count = 2
    problem, given = problem_for("richardson_lucy", psf, y)
    found = solve_richardson_lucy(problem, given, count).numpy()
    kernel = psf.values if axes == 3 else psf.values[0]
    expected = richardson_lucy(y.astype(np.float64), kernel.astype(np.float64), num_iter=count, clip=False)
    # an iteration reaches two radii, so the border has not come this far; the start is a constant in both
    inner = tuple(slice(2 * r * count, -2 * r * count) for r in problem.forward.radius)
    # float32 FFTs
    np.testing.assert_allclose(found[inner], expected[inner], rtol=1e-4, atol=1e-5)


def test_momentum_in_3d_after_twenty_iterations_saves_half_of_the_others() -> None:
    psf, truth = gaussian_psf(3, sigma=2.0), blobs((14, 30, 30)) + 0.1
    y = blur(truth, psf).astype(np.float32)
    found = solve_richardson_lucy(*problem_for("richardson_lucy", psf, y), 60).numpy()
    plain = richardson_lucy(y.astype(np.float64), psf.values.astype(np.float64), num_iter=100, clip=False)
    inner = tuple(slice(r, -r) for r in (3, 9, 9))  # it takes zeros beyond the border
    errors = [float(np.square(x - truth)[inner].mean()) for x in (found, plain)]
    assert errors[0] < errors[1]


def test_the_intensity_of_the_start_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    psf = gaussian_psf()
    problem, given = problem_for("richardson_lucy", psf, measured(blobs((40, 40)), psf).clip(0))
    first = next(iterates(problem, given))
    monkeypatch.setattr("ssi_pipeline.inversion.classical.richardson_lucy._START", 3.0)
    second = next(iterates(problem, given))
    # except the outermost pixels, which no measured one depends on
    torch.testing.assert_close(first[4:-4, 4:-4], second[4:-4, 4:-4], rtol=1e-4, atol=1e-5)


def test_the_fixed_point_predicts_what_the_sensor_reports() -> None:
    """Noise-free reports mu(g x) of a clipping sensor: iterations with the sensor converge to them."""
    psf, calibration = gaussian_psf(), clipping(0.1)
    truth = blobs((48, 48))
    sensor = calibration.sensor
    y = sensor(torch.from_numpy(blur(truth, psf))).numpy()
    problem, given = problem_for("richardson_lucy", psf, y, calibration)
    plain, _ = problem_for("richardson_lucy", psf, y, PLAIN)
    crop = problem.forward.crop
    errors = []
    for x in islice(iterates(problem, given), 0, 60, 15):
        errors.append(float((problem.forward(x) - crop(given.repaired)).square().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-4
    dark = (truth == 0)[8:-8, 8:-8]

    def grey(x: torch.Tensor) -> float:
        return float(np.abs(x.numpy()[8:-8, 8:-8][dark].mean()))

    assert grey(solve_richardson_lucy(problem, given, 40)) < 0.5 * grey(solve_richardson_lucy(plain, given, 40))


def test_data_below_zero_are_taken_above_their_minimum() -> None:
    psf = gaussian_psf()
    y = measured(blobs((40, 40)), psf)
    assert y.min() < 0
    calibration = dataclasses.replace(PLAIN, minimum=float(y.min()))
    assert dark_level(problem_for("richardson_lucy", psf, y, calibration)[0]) == pytest.approx(float(y.min()))
    camera = dataclasses.replace(PLAIN, minimum=100.0, offset=50.0, scale=2.0)
    assert dark_level(problem_for("richardson_lucy", psf, y, camera)[0]) == -25.0
    assert dark_level(problem_for("richardson_lucy", psf, y, dataclasses.replace(camera, floor=90.0))[0]) == 20.0
    found = solve_richardson_lucy(*problem_for("richardson_lucy", psf, y, calibration), 10).numpy()
    above = solve_richardson_lucy(*problem_for("richardson_lucy", psf, y - y.min()), 10).numpy() + y.min()
    # the start differs, which affects rounding, and the outermost pixels, which no measured one depends on
    np.testing.assert_allclose(found[4:-4, 4:-4], above[4:-4, 4:-4], atol=1e-3)


def test_pixels_that_give_no_light_keep_the_start() -> None:
    """A PSF with an empty corner: pixels that only this corner covers contribute to no measured pixel."""
    psf = gaussian_psf()
    values = psf.values.copy()
    values[0, :2, :2] = 0
    psf = dataclasses.replace(psf, values=values / values.sum())
    problem, given = problem_for("richardson_lucy", psf, measured(blobs((40, 40)), psf).clip(0))
    x = solve_richardson_lucy(problem, given, 20)
    assert bool(torch.isfinite(x).all())
    assert float(x[-1, -1]) == pytest.approx(0.5)
