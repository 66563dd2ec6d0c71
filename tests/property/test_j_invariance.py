"""J-invariance: (g f m_J)(y) on J is bitwise independent of y on J."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.masking import Stream, draw_heldout, draw_mask, generator, hide
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.network.inverse import Inverse
from ssi_pipeline.inversion.problem import apply, build_problem
from ssi_pipeline.inversion.tile import TileTensors, make_tile_tensors
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.tasks.pixels import fill_unseen

CALIBRATION = ChannelCalibration(100.0, 1000.0, 50.0, 0.5, 0.01, 0.1, 0.0, clip_low=0.0, clip_high=4095.0)


def config_for(axes: int, **masking: Any) -> RunConfig:
    return parse_config(
        {
            "input": {"path": "a.zarr"},
            "output": {"path": "b.zarr"},
            "psf": {"kind": "identity"},
            "tiling": {"dimensions": axes},
            "network": {"width": 2, "levels": 2},
            "masking": masking,
        }
    )


def asymmetric_psf(axes: int) -> Psf:
    values = np.random.default_rng(3).random((1 if axes == 2 else 3, 5, 5)).astype(np.float32)
    return Psf(values / values.sum())


@pytest.mark.parametrize("replacement", ["neighbours", "random", "zeros"])
@pytest.mark.parametrize("axes", [2, 3])
@given(seed=st.integers(0, 2**32 - 1), wild=st.sampled_from([1e-3, 1.0, 1e6]))
@settings(max_examples=6)
def test_no_hidden_pixel_reaches_the_prediction(axes: int, replacement: str, seed: int, wild: float) -> None:
    config = config_for(axes, density=0.3, replacement=replacement)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssi_pipeline.config.model._IMPULSE_SIGMA", 1.0)  # a third of all pixels is repaired
        problem = build_problem(asymmetric_psf(axes), CALIBRATION, config, "cpu")
    inverse = Inverse(config.network, axes, generator(seed))
    torch.nn.init.ones_(inverse.network.head.weight)  # type: ignore[union-attr,arg-type]
    shape = (28, 32) if axes == 2 else (6, 20, 24)
    rng = np.random.default_rng(seed)
    y = torch.from_numpy(rng.random(shape).astype(np.float32))
    hidden = draw_mask(shape, config.masking, generator(seed, 1)) | draw_heldout(shape, generator(seed, 2))
    changed = torch.where(hidden, torch.from_numpy(wild * rng.standard_normal(shape).astype(np.float32)), y)

    def predict(image: torch.Tensor) -> torch.Tensor:
        channels = problem.linear(hide(image, hidden, config.masking, generator(seed, 3)))
        return problem.forward(apply(inverse, channels))

    assert torch.equal(predict(y), predict(changed))  # everywhere, so on J too


def test_what_training_sees_does_not_depend_on_the_heldout_pixels() -> None:
    config = config_for(2)
    problem = build_problem(asymmetric_psf(2), CALIBRATION, config, "cpu")
    y = 500 + 100 * np.random.default_rng(0).standard_normal((1, 40, 40)).astype(np.float32)
    observed = np.ones(y.shape, dtype=bool)
    tile = make_tile_tensors(problem, Measurement(y, observed), seed=5)
    y[0][tile.heldout.numpy()] = 3000
    assert torch.equal(tile.channels, make_tile_tensors(problem, Measurement(y, observed), seed=5).channels)


def test_a_visible_pixel_does_reach_the_prediction() -> None:
    """A constant f passes the test above, but not this one."""
    config = config_for(2)
    problem = build_problem(asymmetric_psf(2), CALIBRATION, config, "cpu")
    y, hidden = torch.rand(40, 40), torch.zeros(40, 40, dtype=torch.bool)
    changed = y.clone()
    changed[20, 20] += 0.05
    before, after = (
        problem.forward(problem.linear(hide(image, hidden, config.masking, generator(0)))[1]) for image in (y, changed)
    )
    assert not torch.equal(before, after)


@pytest.mark.parametrize("axes", [2, 3])
def test_what_fills_a_gap_does_not_carry_hidden_pixels(axes: int) -> None:
    """NaN pixels are interpolated when a tile is read, from neighbours that are hidden later."""
    config = config_for(axes)
    problem = build_problem(asymmetric_psf(axes), CALIBRATION, config, "cpu")
    shape = (1, 40, 40) if axes == 2 else (6, 24, 24)
    rng = np.random.default_rng(1)
    y = rng.uniform(100, 1000, shape).astype(np.float32)
    finite = rng.random(shape) < 0.6

    def tile_of(y: np.ndarray) -> TileTensors:
        return make_tile_tensors(problem, Measurement(fill_unseen(y, finite), finite), seed=5)

    first = tile_of(y)
    assert first.gaps is not None
    y[first.heldout.numpy().reshape(shape)] = 3000
    second = tile_of(y)
    assert not torch.equal(first.y[first.gaps], second.y[first.gaps])  # the fill did carry them
    assert torch.equal(first.channels, second.channels)


@pytest.mark.parametrize(("axes", "margin"), [(2, (0, 6, 6)), (3, (2, 6, 6)), (3, (14, 4, 4))])
@pytest.mark.parametrize("replacement", ["neighbours", "random"])
def test_what_mirrors_the_image_outside_does_not_carry_hidden_pixels(
    axes: int, margin: tuple[int, int, int], replacement: str
) -> None:
    """Outside the image a domain mirrors it, repeatedly where a stack is thinner than the PSF."""
    config = config_for(axes, replacement=replacement)
    psf = np.random.default_rng(3).random((1 if axes == 2 else 2 * margin[0] + 1, 5, 5)).astype(np.float32)
    problem = build_problem(Psf(psf / psf.sum()), CALIBRATION, config, "cpu")
    shape = (1, 24, 24) if axes == 2 else (5, 20, 20)
    image = np.random.default_rng(1).uniform(100, 1000, shape).astype(np.float32)
    width = [(m, m) for m in margin]
    observed = np.pad(np.ones(shape, bool), width)
    inside = tuple(slice(m, m + n) for m, n in zip(margin, shape, strict=True))

    def tile_of(image: np.ndarray) -> TileTensors:
        return make_tile_tensors(problem, Measurement(np.pad(image, width, mode="reflect"), observed), seed=5)

    first = tile_of(image)
    hidden = first.heldout.numpy().reshape(observed.shape)[inside]
    assert hidden.any()
    changed = np.where(hidden, 3000, image).astype(np.float32)
    second = tile_of(changed)
    assert not torch.equal(first.y[~first.observed], second.y[~second.observed])  # the mirror did carry them
    assert torch.equal(first.channels, second.channels)
    visible = hide(first.y, first.heldout, config.masking, generator(5, Stream.FILL), first.gaps).numpy()
    visible = visible.reshape(observed.shape)
    np.testing.assert_array_equal(visible, np.pad(visible[inside], width, mode="reflect"))
