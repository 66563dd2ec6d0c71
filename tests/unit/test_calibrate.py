"""Calibration of a channel from samples."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.physics.psf import Psf

OFFSET = 100.0


def config_for(**sections: Any) -> RunConfig:
    """Return a configuration whose solver needs no tuning: only the sensor is calibrated."""
    document: dict[str, Any] = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {"kind": "identity"}}
    return parse_config({**document, "solver": "wiener", "classical": {"weight": "likelihood"}, **sections})


def blurred(shape: tuple[int, ...] = (1, 200, 200), seed: int = 0) -> np.ndarray:
    """Return blobs from 0 to 1 with a third of dark background."""
    rng = np.random.default_rng(seed)
    x = ndimage.gaussian_filter(rng.standard_normal(shape), (0, 5, 5))
    return np.clip(0.3 + 0.35 * x / x.std(), 0, 1)


def measured(x: np.ndarray, alpha: float, sigma: float, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(x.shape)
    return (x + np.sqrt(alpha * x + sigma**2) * noise).astype(np.float32)


def as_sample(y: np.ndarray) -> Measurement:
    return Measurement(y.astype(np.float32), np.ones(y.shape, dtype=bool))


def gaussian_psf() -> Psf:
    r = np.arange(-5, 6)
    g = np.exp(-0.5 * (r / 1.5) ** 2)
    return Psf((np.outer(g, g) / np.outer(g, g).sum())[None].astype(np.float32))


@pytest.mark.parametrize(("alpha", "sigma"), [(0.0, 0.05), (0.02, 0.05)])
def test_the_noise_is_recovered_in_raw_units(alpha: float, sigma: float) -> None:
    y = OFFSET + 1000 * measured(blurred(), alpha, sigma)
    found = calibrate([as_sample(y)], gaussian_psf(), config_for())
    mean = found.noise_sigma**2 + found.noise_alpha * (OFFSET + 400 - found.dark)  # variance at x = 0.4
    assert mean == pytest.approx(1e6 * (sigma**2 + 0.4 * alpha), rel=0.2)
    assert found.noise_alpha == pytest.approx(1e3 * alpha, abs=8)


def test_clipping_is_noticed_and_the_option_switches_it_off() -> None:
    y = np.clip(measured(blurred(), 0.001, 0.1), 0, 1)
    found = calibrate([as_sample(y)], gaussian_psf(), config_for())
    assert (found.clip_low, found.clip_high) == (0.0, 1.0)
    linear = calibrate([as_sample(y)], gaussian_psf(), config_for(sensor={"low": "none", "high": "none"}))
    assert (linear.clip_low, linear.clip_high) == (None, None)
    assert linear.sensor.is_linear


def test_unclipped_noise_and_counts_of_few_photons_are_not_clipping() -> None:
    assert calibrate([as_sample(measured(blurred(), 0.001, 0.1))], None, config_for()).clip_low is None
    counts = np.random.default_rng(0).poisson(2 * blurred())
    assert calibrate([as_sample(counts)], None, config_for()).clip_low is None


def test_impulses_are_counted() -> None:
    y = measured(blurred(), 0.0, 0.05)
    y[np.random.default_rng(2).random(y.shape) < 0.02] = 3.0
    found = calibrate([as_sample(y)], gaussian_psf(), config_for())
    assert 0.018 < found.impulse_share < 0.03
    assert calibrate([as_sample(y)], gaussian_psf(), config_for(sensor={"impulse_share": 0})).impulse_share == 0


def test_percentiles_become_0_and_1() -> None:
    y = measured(blurred(), 0.0, 0.02)
    found = calibrate([as_sample(y)], None, config_for())
    assert (found.offset, found.offset + found.scale) == pytest.approx(tuple(np.percentile(y, [1, 99.8])))


def test_pixels_that_were_not_observed_count_for_nothing() -> None:
    y = measured(blurred(), 0.0, 0.05)
    observed = np.ones(y.shape, dtype=bool)
    observed[:, :40] = False
    other = y.copy()
    other[:, :40] = 1e6
    first, second = (calibrate([Measurement(a, observed)], None, config_for()) for a in (y, other))
    assert (first.offset, first.scale, first.minimum) == (second.offset, second.scale, second.minimum)
    assert first.wiener_weight == second.wiener_weight
    assert first.noise_sigma == pytest.approx(second.noise_sigma, rel=1e-3)


def test_a_constant_channel_is_empty() -> None:
    found = calibrate([as_sample(np.full((1, 30, 30), 7.0))], gaussian_psf(), config_for())
    assert found.empty
    assert (found.offset, found.scale) == (7.0, 0.0)
    nothing = Measurement(np.zeros((1, 4, 4), np.float32), np.zeros((1, 4, 4), bool))
    assert calibrate([nothing], None, config_for()).empty


def test_a_nearly_empty_channel_has_a_scale() -> None:
    y = np.zeros((1, 100, 100))
    y[0, 50, 50] = 9.0
    assert calibrate([as_sample(y)], None, config_for()).scale == 9.0


def test_json_keeps_everything() -> None:
    found = calibrate([as_sample(measured(blurred(), 0.01, 0.05))], gaussian_psf(), config_for())
    assert ChannelCalibration.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_volumes_are_calibrated_too() -> None:
    y = measured(blurred((12, 48, 48)), 0.0, 0.05)
    found = calibrate([as_sample(y)], gaussian_psf(), config_for(tiling={"dimensions": 3}))
    assert found.noise_sigma == pytest.approx(0.05, rel=0.15)
