"""Outside an image, where nothing was measured, training has no say in the inverse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from classical_cases import as_measurement, blobs, blur, gaussian_psf

from ssi_pipeline.benchmark.methods import measurement
from ssi_pipeline.config import parse_config
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.network.averaged import averaged
from ssi_pipeline.inversion.network.batches import Batches, Schedule
from ssi_pipeline.inversion.network.beyond import Beyond, beyond
from ssi_pipeline.inversion.network.training import build_inverse, train, validate
from ssi_pipeline.inversion.problem import Problem, build_problem
from ssi_pipeline.inversion.surroundings import outside_of
from ssi_pipeline.inversion.tile import make_tile_tensors

_RADIUS = 4


def image() -> Measurement:
    """Return an image of 48 x 48 pixels with nothing around it, padded by the radius of the PSF."""
    level = 100 + 400 * blur(blobs((48, 48)), gaussian_psf())
    return measurement(np.random.default_rng(0).poisson(level), _RADIUS, 4)[0]


def problem_of(given: Measurement, **training: Any) -> Problem:
    document = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {"kind": "identity"}}
    config = parse_config({**document, "training": {"patch": 32, "batch": 3, **training}})
    return build_problem(gaussian_psf(), calibrate([given], gaussian_psf(), config), config, "cpu")


def test_the_surroundings_are_what_lies_around_the_image() -> None:
    gaps = torch.ones((12, 10), dtype=torch.bool)
    gaps[3:, 2:7] = False
    expected = gaps.clone()
    gaps[5:8, 3:6] = True  # a gap in the image: its neighbours tell what is there
    found = outside_of(gaps)
    assert found is not None
    assert torch.equal(found, expected)
    gaps[:] = False
    gaps[4, 4] = True
    assert outside_of(gaps) is None


@pytest.mark.parametrize("scope", ["per_tile", "fine_tune"])
def test_training_has_no_say_outside(scope: str) -> None:
    given = image()
    problem = problem_of(given, scope=scope)
    tile = make_tile_tensors(problem, given, 0)
    assert tile.outside is not None
    assert torch.equal(tile.outside, torch.from_numpy(~given.observed[0]))
    origin = build_inverse(problem, generator(0))
    batches, met = Batches(problem, [tile], Schedule(100, 3), generator(0), origin), 0
    for _ in range(20):
        batch = batches.draw()
        output = torch.rand(batch.x.shape[:1] + batch.x.shape[2:], generator=generator(1)).requires_grad_()
        batch.estimate(output).sum().backward()  # type: ignore[no-untyped-call]
        assert output.grad is not None
        frozen = batch.estimate(output.grad) == batch.estimate(output.grad + 1)  # in the image's orientation
        assert int(frozen.sum()) == int((output.grad == 0).sum())
        met += int(frozen.sum())
    assert met > 0


def test_f_keeps_there_what_it_was_before_training() -> None:
    """What a tile is judged by, and its estimate: both change with the parameters inside the image only."""
    given = image()
    problem = problem_of(given, start="random")
    tile = make_tile_tensors(problem, given, 0)
    origin, inverse = (build_inverse(problem, generator(0)) for _ in range(2))
    inputs = tile.inputs(tile.channels)
    outer = beyond(origin, tile, inputs)
    assert outer is not None
    assert tile.outside is not None
    assert torch.equal(outer.around(torch.zeros_like(tile.y)), tile.channels[1] * tile.outside)
    before = validate(problem, [tile], [outer], inverse, inverse.state_dict())
    torch.nn.init.constant_(inverse.network.head.weight, 0.3)
    assert not torch.equal(validate(problem, [tile], [outer], inverse, inverse.state_dict()), before)
    everywhere = Beyond(torch.zeros_like(outer.inside), tile.channels[1])
    assert torch.equal(validate(problem, [tile], [everywhere], inverse, inverse.state_dict()), before)
    free, kept = (averaged(problem, inputs, inverse, given) for given in (None, everywhere))
    assert not torch.equal(free, kept)
    assert torch.equal(kept, averaged(problem, inputs, origin, everywhere))


def test_after_a_model_of_other_tiles_it_is_the_linear_solution_there() -> None:
    given = image()
    problem = problem_of(given, scope="fine_tune", steps=1)
    tile, start = make_tile_tensors(problem, given, 0), build_inverse(problem, generator(0)).state_dict()
    assert train(problem, [tile], Schedule(1, 1), 0, 1, start, math.inf).origin is None
    outer = beyond(None, tile, tile.inputs(tile.channels))
    assert outer is not None
    assert tile.outside is not None
    assert torch.equal(outer.around(torch.zeros_like(tile.y)), tile.channels[1] * tile.outside)


def test_tiles_of_a_shared_network_agree_with_the_whole_plane() -> None:
    """There w mirrors the image, and f is the network's everywhere; so it is in a tile within a volume."""
    given = image()
    assert make_tile_tensors(problem_of(given, scope="shared"), given, 0).outside is None
    whole = as_measurement(given.y[0])
    assert make_tile_tensors(problem_of(whole), whole, 0).outside is None
