"""Estimation of the sensor: noise, limits and impulses, without false limits, and overrides by the configuration."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from ssi_pipeline.config import RunConfig, SensorConfig, parse_config
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.problem import build_problem
from ssi_pipeline.inversion.sensor.clipped_spread import MEDIAN_OF_NORMAL, clipped_spread
from ssi_pipeline.inversion.sensor.estimate import SensorEstimate, estimate_sensor
from ssi_pipeline.inversion.sensor.noise_bins import gather
from ssi_pipeline.inversion.sensor.saturation import without_fill
from ssi_pipeline.inversion.solve import solve
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.report.sections.calibration import with_estimates

BENCHMARK = Path(__file__).parents[3] / "shared" / "benchmark"


def config_for(**sections: Any) -> RunConfig:
    """Return a configuration whose solver needs no tuning: only the sensor is calibrated."""
    document: dict[str, Any] = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {"kind": "identity"}}
    return parse_config({**document, "solver": "wiener", "classical": {"weight": "likelihood"}, **sections})


def scene(side: int = 256, seed: int = 0) -> np.ndarray:
    """Return blobs from 0 to 1 with a third of dark background, y x."""
    x = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((side, side)), 6)
    return np.clip(0.3 + 0.35 * x / x.std(), 0, 1)


def measured(x: np.ndarray, alpha: float, sigma: float, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(x.shape)
    return x + np.sqrt(alpha * np.maximum(x, 0) + sigma**2) * noise


def as_sample(y: np.ndarray) -> Measurement:
    return Measurement(y[None].astype(np.float32), np.ones((1, *y.shape), dtype=bool))


def estimated(y: np.ndarray, scale: float = 1.0, **given: Any) -> SensorEstimate:
    return estimate_sensor([as_sample(y)], 0.0, scale, SensorConfig(**given))


def gaussian_psf() -> Psf:
    g = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    return Psf((np.outer(g, g) / np.outer(g, g).sum())[None].astype(np.float32))


@pytest.mark.parametrize("way", [-0.5, 0.0, 0.7, 3.0])
def test_the_spread_of_clipped_residuals_agrees_with_drawn_ones(way: float) -> None:
    c = np.maximum(np.random.default_rng(0).standard_normal((1200, 1200)), -way)
    along = c[:, 2:] - 2 * c[:, 1:-1] + c[:, :-2]
    residual = (along[2:] - 2 * along[1:-1] + along[:-2]) / 6
    # the median of 1.4e6 / 9 independent values is known to 0.3 %; three of these, and the table's grid
    assert clipped_spread(np.array([way]))[0] == pytest.approx(float(np.median(np.abs(residual))), rel=0.012)
    assert clipped_spread(np.array([math.inf]))[0] == pytest.approx(MEDIAN_OF_NORMAL)


@pytest.mark.parametrize("alpha", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("sigma", [0.03, 0.1])
@pytest.mark.parametrize("limits", [(-math.inf, math.inf), (0.0, math.inf), (0.0, 1.0)])
def test_noise_and_limits_are_found(alpha: float, sigma: float, limits: tuple[float, float]) -> None:
    x = scene()
    y = np.clip(np.round(1024 * measured(x, alpha, sigma)) / 1024, *limits)
    found = estimated(y)
    assert (found.low is not None) == math.isfinite(limits[0])
    if (y == 1).sum() > 200:  # a limit that next to nothing reaches may be missed
        assert (found.high is not None) == math.isfinite(limits[1])
    for level in (0.3, 0.6):
        s = math.sqrt(found.alpha * (level - found.dark) + found.sigma**2)
        # 65,000 pixels, 40 % of them used, in some twenty bins of correlated residuals: about 2 %; three of these
        assert s == pytest.approx(math.sqrt(alpha * level + sigma**2), rel=0.06)
    # where photon noise takes over right above the dark level, sigma rests on few pixels, half of them clipped
    if alpha * 0.3 <= sigma**2:
        assert found.sigma == pytest.approx(math.sqrt(alpha * found.dark + sigma**2), rel=0.15)


def test_a_clipped_background_has_its_noise_estimated() -> None:
    x = 1000 * np.clip(scene() - 0.6, 0, 1)  # nine tenths are background, half of whose pixels are clipped
    y = np.clip(x + 50 * np.random.default_rng(1).standard_normal(x.shape), 0, None)
    found = estimated(y, scale=400.0)
    assert (found.low, found.high) == (0.0, None)
    assert found.sigma == pytest.approx(50, rel=0.06)


def test_photon_counts_and_a_camera_offset() -> None:
    counts = np.random.default_rng(0).poisson(50 * scene())
    noise = 3 * np.random.default_rng(2).standard_normal(counts.shape)
    y = np.round(100 + 2 * counts + noise)
    found = estimated(y, scale=100.0)
    assert (found.low, found.high) == (None, None)
    assert found.alpha == pytest.approx(2, rel=0.06)
    assert found.dark == pytest.approx(100, abs=1.5)
    assert found.sigma == pytest.approx(3, rel=0.2)


@pytest.mark.parametrize("brightness", [100, 5, 1])
def test_photon_counts_have_gain_one_and_no_limit(brightness: float) -> None:
    found = estimated(np.random.default_rng(0).poisson(brightness * scene()).astype(float), scale=float(brightness))
    assert (found.low, found.high) == (None, None)
    assert found.alpha == pytest.approx(1, rel=0.15)


def test_coarse_steps_add_their_own_noise_and_no_more() -> None:
    noise = 0.6 * np.random.default_rng(1).standard_normal((256, 256))
    found = estimated(np.round(100 * scene() + 50 + noise), scale=100.0)
    assert found.sigma == pytest.approx(math.sqrt(0.36 + 1 / 12), rel=0.08)
    assert (found.low, found.high) == (None, None)


def test_edges_and_impulses_do_not_pass_for_noise() -> None:
    x = (ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((256, 256)), 5) > 0).astype(float)
    y = measured(x, 0.0, 0.02)
    assert estimated(y).sigma == pytest.approx(0.02, rel=0.06)
    y[np.random.default_rng(3).random(y.shape) < 0.02] = 3.0
    assert estimated(y).sigma == pytest.approx(0.02, rel=0.06)


def test_eight_bit_saturation_is_two_limits() -> None:
    noise = 10 * np.random.default_rng(1).standard_normal((256, 256))
    found = estimated(np.clip(np.round(400 * scene() + noise), 0, 255), scale=255.0)
    assert (found.low, found.high) == (0.0, 255.0)
    assert math.sqrt(found.alpha * (120 - found.dark) + found.sigma**2) == pytest.approx(10, rel=0.06)


def stretched() -> np.ndarray:
    y = measured(scene(), 0.001, 0.1)
    return (y - y.min()) / (y.max() - y.min())


def padded() -> np.ndarray:
    y = measured(scene(), 0.001, 0.05) + 0.3
    y[:70] = 0
    return y


def masked_counts() -> np.ndarray:
    yy, xx = np.mgrid[:256, :256]
    counts = np.random.default_rng(0).poisson(4 + 20 * scene()).astype(float)
    return np.where((yy - 128) ** 2 + (xx - 128) ** 2 > 110**2, 0, counts)


def flat_fielded() -> np.ndarray:
    """Return few counts with a different gain per pixel: zeros accumulate, and other values are not quantised."""
    rng = np.random.default_rng(0)
    return rng.poisson(1.5 * scene()) * rng.uniform(0.9, 1.1, (256, 256))


@pytest.mark.parametrize(
    "make", [stretched, padded, masked_counts, flat_fielded, scene], ids=lambda make: make.__name__
)
def test_no_limit_is_invented(make: Any) -> None:
    y = make()
    found = estimated(y, scale=float(y.max()))
    # the noise-free scene is cut at 0 and 1 by construction, but without noise this is no evidence
    assert (found.low, found.high) == (None, None)


def test_areas_of_fill_are_not_observed_and_clipped_noise_is() -> None:
    y = np.clip(measured(scene(), 0.0, 0.1), 0, None)
    assert without_fill([as_sample(y)])[0].observed.all()
    y[:, :40] = 0
    observed = without_fill([as_sample(y)])[0].observed[0]
    assert not observed[:, :36].any()
    assert observed[:, 50:].all()
    found = estimated(y)
    assert found.low == 0
    assert found.sigma == pytest.approx(0.1, rel=0.06)


def test_constant_and_missing_data_have_no_noise() -> None:
    assert estimated(np.zeros((40, 40))) == SensorEstimate(0.0, 0.0, 0.0)
    nothing = Measurement(np.zeros((1, 8, 8), np.float32), np.zeros((1, 8, 8), bool))
    assert estimate_sensor([nothing], 0.0, 1.0, SensorConfig()).sigma == 0


@pytest.mark.parametrize("share", [0.05, pytest.param(0.01, marks=pytest.mark.long)])
def test_the_share_of_impulses_counts_those_that_the_test_misses(share: float) -> None:
    y, rng = np.clip(measured(scene(), 0.001, 0.1), 0, 1), np.random.default_rng(5)
    y = np.where(rng.random(y.shape) < share, rng.random(y.shape), y)
    found = calibrate([as_sample(y)], gaussian_psf(), config_for())
    # Of an informative number, its order is what counts: where a scene is full of edges the planted impulses are
    # found more rarely than the real ones (here .30 against .37), and the share comes out too high by as much.
    assert found.impulse_share == pytest.approx(share, rel=0.5)
    assert calibrate([as_sample(y)], None, config_for()).impulse_share == 0  # a point source is a lone pixel here


def test_no_impulses_by_declaration_means_that_none_is_looked_for_or_repaired() -> None:
    y, rng = measured(scene(96), 0.0, 0.05), np.random.default_rng(5)
    y = np.where(rng.random(y.shape) < 0.02, 3.0, y)
    psf, sample, estimates = gaussian_psf(), as_sample(y), []
    for sensor in ({}, {"impulse_share": 0}):
        config = config_for(sensor=sensor)
        found = calibrate([sample], psf, config)
        estimates.append(solve(build_problem(psf, found, config, "cpu"), sample, 0).estimate)
    assert found.impulse_share == 0
    # a pixel at 3 that is repaired leaves no bump; one that is kept does, through any smooth filter
    repaired, kept = (float(x[0][y == 3].mean()) for x in estimates)
    assert kept > repaired + 0.1


OVERRIDES = [
    ("offset", "dark", -0.05),
    ("alpha", "noise_alpha", 0.02),
    ("sigma", "noise_sigma", 0.3),
    ("low", "clip_low", 0.05),
    ("high", "clip_high", 0.9),
    ("low", "clip_low", "none"),
    ("high", "clip_high", "none"),
]


@pytest.fixture(scope="module")
def clipped() -> Measurement:
    return as_sample(np.clip(measured(scene(128), 0.001, 0.1), 0, 1))


@pytest.fixture(scope="module")
def free(clipped: Measurement) -> ChannelCalibration:
    return calibrate([clipped], gaussian_psf(), config_for())


@pytest.mark.parametrize(("option", "name", "value"), OVERRIDES)
def test_overrides_are_used_and_the_estimate_is_kept(
    option: str, name: str, value: Any, clipped: Measurement, free: ChannelCalibration
) -> None:
    held = calibrate([clipped], gaussian_psf(), config_for(sensor={option: value}))
    assert getattr(held, name) == (None if value == "none" else value)
    assert getattr(held, name) != getattr(free, name)
    assert held.estimated is not None
    assert free.estimated is not None
    assert (held.estimated.low, held.estimated.high) == (0.0, 1.0)
    assert free.estimated.sigma == pytest.approx(0.1, rel=0.1)
    # the noise is fitted with the dark level and the limits that are given, also wrong ones, and with nothing else
    assert (held.estimated.sigma == free.estimated.sigma) == (option in ("alpha", "sigma", "impulse_share"))
    z = torch.tensor([0.02, 0.5, 0.97])
    assert not torch.equal(free.sensor(z), held.sensor(z))
    assert ChannelCalibration.from_json(json.loads(json.dumps(held.to_json()))) == held


def test_a_linear_sensor_is_the_identity_but_its_noise_is_known(clipped: Measurement) -> None:
    found = calibrate([clipped], gaussian_psf(), config_for(sensor={"low": "none", "high": "none"}))
    x = torch.randn(50)
    assert found.sensor.is_linear
    assert torch.equal(found.sensor(x), x)
    assert found.noise_sigma == pytest.approx(0.1, rel=0.1)


def test_noise_is_reported_at_the_offset_for_any_dark_level() -> None:
    base = {"offset": 100.0, "scale": 50.0, "noise_sigma": 3.0, "noise_alpha": 2.0}
    rest = {"impulse_share": 0.0, "wiener_weight": 1.0, "minimum": 0.0}
    for dark in (90.0, 100.0, 101.0):
        calibration = ChannelCalibration(**base, **rest, dark=dark)
        variance = (9 + 2 * (120 - dark)) / 50**2
        level = calibration.normalise(120.0)
        assert calibration.noise.variance(level) == pytest.approx(variance)
        assert float(calibration.sensor.deviation(torch.tensor(level))) == pytest.approx(math.sqrt(variance), rel=1e-5)


def test_the_report_shows_an_estimate_beside_what_overrides_it(clipped: Measurement) -> None:
    held = with_estimates(calibrate([clipped], None, config_for(sensor={"sigma": 0.3})).to_json())
    assert held["noise_sigma"] == 0.3
    assert held["noise_sigma, estimated"] == pytest.approx(0.1, rel=0.1)
    assert [name for name in held if "estimated" in name] == ["noise_sigma, estimated"]


@pytest.mark.skipif(not BENCHMARK.is_dir(), reason="the benchmark's images are not here")
@pytest.mark.parametrize("name", ["nuclei924x624.png", "usaf768x812.png"])
def test_the_benchmark_is_recognised(name: str) -> None:
    from scipy.signal import convolve
    from skimage.io import imread

    from ssi_pipeline.benchmark.protocol import degrade

    image = imread(BENCHMARK / "images" / name, as_gray=True).astype(np.float32)
    image = (image - image.min()) / (image.max() - image.min())
    psf = np.load(BENCHMARK / "psf.npy")
    assert convolve(image, psf, mode="same").min() > -1e-6
    found = estimated(degrade(image, psf) / 1024)
    assert (found.low, found.high) == (0.0, 1.0)
    assert found.sigma == pytest.approx(math.sqrt(0.01 + 0.001 * found.dark), rel=0.05)


def test_the_fit_of_the_noise_takes_thirty_bytes_a_voxel() -> None:
    """The samples of a volume have seven million voxels: it is the largest need of a calibration."""
    rng, shape = np.random.default_rng(0), (6, 64, 64)
    samples = [Measurement(rng.normal(0.5, 0.1, shape).astype(np.float32), np.ones(shape, bool)) for _ in range(16)]
    tracemalloc.start()
    try:
        gather(samples, lambda level: np.full_like(level, 0.1), (-np.inf, np.inf))
        assert tracemalloc.get_traced_memory()[1] < 36 * sum(sample.y.size for sample in samples)
    finally:
        tracemalloc.stop()
