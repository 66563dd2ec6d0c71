"""Which of several estimates a tile takes: the trusted one, unless another surely predicts hidden pixels better."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from classical_cases import gaussian_psf
from scipy import ndimage

from ssi_pipeline.config import parse_config
from ssi_pipeline.inversion.assess.contest import preferred
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.classical.solver import Prediction, predict
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.problem import Problem, build_problem
from ssi_pipeline.inversion.solve import solve
from ssi_pipeline.inversion.tile import TileTensors, make_tile_tensors

PHOTONS, BACKGROUND, SEED = 600.0, 10.0, 0
WEIGHTS = {"tv_cg": 1.5e-3, "richardson_lucy": 40.0}
"""About what tuning finds on nuclei in this light."""


@dataclasses.dataclass(frozen=True)
class Textured:
    """A tile of textured regions, bright enough that the data determine what the PSF leaves, with its truth."""

    problem: Problem
    measurement: Measurement
    tile: TileTensors
    truth: np.ndarray

    def error(self, estimate: np.ndarray) -> float:
        """Return the mean squared error away from the border."""
        return float(np.mean((estimate - self.truth)[0, 8:-8, 8:-8] ** 2))

    def predictions(self, **weights: float) -> list[Prediction]:
        return [predict(self.problem, self.tile, name, weight) for name, weight in {**WEIGHTS, **weights}.items()]


@pytest.fixture(scope="module")
def textured() -> Textured:
    rng, psf, shape = np.random.default_rng(SEED), gaussian_psf(sigma=1.7), (1, 64, 64)
    region, grain = (ndimage.gaussian_filter(rng.standard_normal(shape), (0, s, s)) for s in (6, 2))
    x = np.where(region > 0, 0.6 * (1 + 0.35 * np.clip(grain / grain.std(), -2, 2)), 0.0)
    light = PHOTONS * ndimage.convolve(x, psf.values.astype(np.float64), mode="reflect") + BACKGROUND
    measurement = Measurement(rng.poisson(light).astype(np.float32), np.ones(shape, bool))
    document: dict[str, Any] = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {"kind": "identity"}}
    document["quality"] = {"extended": False}
    few = {"steps": 8, "attempts": 1, "patch": 32, "batch": 1, "precision": "float32"}
    config, alone = (
        parse_config({**document, "network": {"width": 4, "levels": 2}, "training": {**few, "select": select}})
        for select in ("best", "network")
    )
    calibration = dataclasses.replace(calibrate([measurement], psf, alone), weights=WEIGHTS)
    problem = build_problem(psf, calibration, config, "cpu")
    return Textured(problem, measurement, make_tile_tensors(problem, measurement, SEED), PHOTONS * x + BACKGROUND)


def test_a_smaller_loss_that_may_be_chance_does_not_replace_total_variation(textured: Textured) -> None:
    """Richardson-Lucy is ahead on V by less than a standard error, and 1.2 dB worse: the PSF hides its noise from V."""
    total_variation, richardson_lucy = textured.predictions()
    assert richardson_lucy.loss < total_variation.loss  # type: ignore[operator]
    worse = textured.error(richardson_lucy.estimate())
    assert worse > 1.3 * textured.error(total_variation.estimate())
    assert preferred(textured.problem, textured.tile, SEED, [total_variation, richardson_lucy]) is total_variation
    found = solve(textured.problem, textured.measurement, SEED)  # a network of 8 steps is no rival
    assert found.method == "tv_cg"
    assert worse > 1.3 * textured.error(found.estimate)


def test_a_loss_that_is_smaller_for_certain_does(textured: Textured) -> None:
    smooth, richardson_lucy = textured.predictions(tv_cg=1.0)
    assert preferred(textured.problem, textured.tile, SEED, [smooth, richardson_lucy]) is richardson_lucy


def test_a_prediction_without_finite_errors_is_the_last_resort(textured: Textured) -> None:
    first, second = textured.predictions()
    failed = dataclasses.replace(first, errors=None)
    assert preferred(textured.problem, textured.tile, SEED, [failed, second]) is second
    assert preferred(textured.problem, textured.tile, SEED, [failed]) is failed
    assert preferred(textured.problem, textured.tile, SEED, []) is None
