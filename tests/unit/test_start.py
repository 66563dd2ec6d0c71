"""The weights that the network starts from: what they fit, what they do, and what 'auto' makes of the options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from classical_cases import as_measurement, blobs, blur, config_for, gaussian_psf

from ssi_pipeline.config import NetworkConfig
from ssi_pipeline.config.recipe import Recipe
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.network.inverse import Inverse
from ssi_pipeline.inversion.network.start import load_start
from ssi_pipeline.inversion.network.training import build_inverse
from ssi_pipeline.inversion.problem import apply, build_problem
from ssi_pipeline.inversion.tile import make_tile_tensors

SIMULATED, RANDOM = Recipe(True, 200, 2e-3, 0.3), Recipe(False, 600, 4e-3, 1.0)


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, SIMULATED),
        ({"network": {"width": 16}}, SIMULATED),
        ({"network": {"context": {"z": 1}}}, SIMULATED),
        ({"training": {"start": "random"}}, RANDOM),
        ({"network": {"width": 8}}, RANDOM),
        ({"network": {"levels": 2}}, RANDOM),
        ({"tiling": {"dimensions": 3}}, RANDOM),
        ({"training": {"steps": 7, "learning_rate": 0.1, "total_variation": 0}}, Recipe(True, 7, 0.1, 0.0)),
        ({"training": {"start_from": "model.pt"}, "network": {"width": 8}}, Recipe(False, 200, 2e-3, 0.3)),
    ],
)
def test_what_auto_stands_for(sections: dict[str, Any], expected: Recipe) -> None:
    assert config_for("ssi", **sections).recipe == expected


def test_a_start_that_does_not_fit_is_refused() -> None:
    wanted = (
        "start: simulated, but the weights .* fit a network of 2 dimensions, width 16 and 3 levels, .* has 3, 8 and 3"
    )
    with pytest.raises(ConfigError, match=wanted):
        config_for("ssi", tiling={"dimensions": 3}, training={"start": "simulated"})


def test_without_training_it_restores_better_than_the_linear_solution() -> None:
    """Of a scene that none of its own resembles but by chance: round blobs at 100 photons."""
    config, psf = config_for("ssi"), gaussian_psf()
    truth = 20 + 100 * blobs((96, 96))
    measurement = as_measurement(np.random.default_rng(0).poisson(blur(truth, psf)))
    calibration = calibrate([measurement], psf, config)
    problem = build_problem(psf, calibration, config, "cpu")
    tile = make_tile_tensors(problem, measurement, 0)
    inverse = build_inverse(problem, generator(0))
    inverse.standardise([tile.channels])
    x = torch.from_numpy(calibration.normalised(truth.astype(np.float32)))

    def error(estimate: torch.Tensor) -> float:
        return float((estimate - x)[8:-8, 8:-8].square().mean())

    assert error(apply(inverse, tile.whole.channels)) < 0.9 * error(tile.whole.channels[1])


def test_neighbours_have_no_effect_until_the_network_is_trained() -> None:
    alone, beside = (Inverse(NetworkConfig(context=c), 2, generator(0)) for c in ({}, {"z": 1, "t": 1}))
    for inverse in (alone, beside):
        load_start(inverse.network)
    channels = torch.randn(6, 32, 32, generator=generator(1))
    torch.testing.assert_close(apply(beside, channels), apply(alone, channels[:2]))


def test_random_weights_start_at_the_linear_solution() -> None:
    problem_config = config_for("ssi", training={"start": "random"})
    psf = gaussian_psf()
    measurement = as_measurement(np.random.default_rng(0).poisson(blur(20 + 100 * blobs((64, 64)), psf)))
    problem = build_problem(psf, calibrate([measurement], psf, problem_config), problem_config, "cpu")
    channels = torch.randn(2, 32, 32, generator=generator(1))
    assert torch.equal(apply(build_inverse(problem, generator(0)), channels), channels[1])
