"""Noise that neighbours share: found where it is, not found where it is white, hidden together, and counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import yaml
import zarr
from numpy.typing import NDArray
from scipy import ndimage

from ssi_pipeline.cli import main
from ssi_pipeline.config import RunConfig, SensorConfig, parse_config
from ssi_pipeline.inversion.assess.signal_test import is_noise_only
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.classical.solver import without_heldout
from ssi_pipeline.inversion.masking import cover, draw_mask, generator, heldout_share
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.problem import build_problem
from ssi_pipeline.inversion.sensor.correlation import NoiseCorrelation, correlation_words
from ssi_pipeline.inversion.sensor.estimate import estimate_sensor, find_correlation
from ssi_pipeline.inversion.sensor.impulses import NoiseModel
from ssi_pipeline.inversion.tile import make_tile_tensors
from ssi_pipeline.physics.gaussian import gaussian_psf
from ssi_pipeline.physics.psf import Psf, psf_values
from ssi_pipeline.physics.psf_loader import load_psf

Image = NDArray[np.float64]
FWHM = 4.0
CONFIG = {
    "input": {"path": "in.tif", "axes": "yx"},
    "output": {"path": "out.zarr", "dtype": "float32"},
    "psf": {"kind": "gaussian", "fwhm_px": {"y": FWHM, "x": FWHM}},
    "solver": "wiener",
}


def scene(side: int = 160, seed: int = 0) -> Image:
    """Photons: discs with texture and points, on a background."""
    rng, light = np.random.default_rng(seed), np.full((side, side), 15.0)
    yy, xx = np.mgrid[:side, :side]
    texture = ndimage.gaussian_filter(rng.standard_normal(light.shape), 2)
    for y, x, radius in zip(rng.uniform(0, side, 8), rng.uniform(0, side, 8), rng.uniform(8, 18, 8), strict=True):
        inside = (yy - y) ** 2 + (xx - x) ** 2 < radius**2
        light[inside] = 70 * (1 + 0.3 * texture[inside] / texture.std())
    light[tuple(rng.integers(4, side - 4, (2, 12)))] += 300
    return light


def measured(photons: float = 1.0, seed: int = 1) -> Image:
    """The scene as a camera sees it: blurred, with white noise, 2 counts a photon."""
    level = ndimage.gaussian_filter(scene(), FWHM / 2.3548) * photons
    rng = np.random.default_rng(seed)
    return np.asarray(2 * (rng.poisson(level) + rng.standard_normal(level.shape)) + 100)


def mean_2x2(image: Image) -> Image:
    return np.asarray(ndimage.uniform_filter(image, 2))


def smoothed(image: Image) -> Image:
    return np.asarray(ndimage.gaussian_filter(image, 0.7))


def along_rows(image: Image) -> Image:
    return np.asarray(ndimage.uniform_filter1d(image, 3, axis=1))


def row_offsets(image: Image) -> Image:
    return image + 7 * np.random.default_rng(2).standard_normal((len(image), 1))


def parsed(**sections: object) -> RunConfig:
    return parse_config({**CONFIG, **sections})


def psf() -> Psf:
    found = load_psf(parsed().psf[0] if isinstance(parsed().psf, tuple) else parsed().psf, None, 2)
    assert found is not None
    return found


def as_measurement(image: Image) -> Measurement:
    y = np.rint(image).astype(np.float32)
    y = y[None] if y.ndim == 2 else y
    return Measurement(y, np.ones(y.shape, bool))


def found_in(image: Image, values: NDArray[np.float32]) -> NoiseCorrelation | None:
    sample, scale = as_measurement(image), float(np.ptp(image))
    sensor = estimate_sensor([sample], 100.0, scale, SensorConfig())
    noise = find_correlation([sample], 100.0, scale, sensor, values, None)
    return None if noise is None else noise.correlation


def calibrated(image: Image, config: RunConfig) -> ChannelCalibration:
    return calibrate([as_measurement(image)], psf(), config)


# --- what is found


@pytest.mark.parametrize("photons", [0.02, 0.2, 2.0, 20.0])
@pytest.mark.parametrize("blurred", [True, False])
def test_white_noise_stays_white(photons: float, blurred: bool) -> None:
    values = psf_values(psf() if blurred else None, 2)
    assert found_in(measured(photons), values) is None
    assert found_in(np.random.default_rng(3).poisson(photons, (160, 160)) + 100.0, values) is None


@pytest.mark.parametrize(("density", "background"), [(0.004, 20), (0.004, 100), (0.01, 100)])
def test_bright_points_in_every_window_are_no_correlated_noise(density: float, background: float) -> None:
    """Their peaks were cut out of the windows as outliers, and the holes taken for noise of all frequencies."""
    for seed in range(2):
        rng, light = np.random.default_rng(seed), np.zeros((160, 160))
        many = int(density * light.size)
        light[tuple(rng.integers(0, 160, (2, many)))] = rng.uniform(1e4, 1e5, many)
        photons = rng.poisson(ndimage.gaussian_filter(light, FWHM / 2.3548) + background)
        assert found_in(photons.astype(np.float64), psf_values(psf(), 2)) is None


@pytest.mark.parametrize(
    ("processed", "expected"),
    [
        # of white noise after the filter, in closed form
        (mean_2x2, {(0, 0, 1): 0.5, (0, 1, 0): 0.5, (0, 1, 1): 0.25, (0, 0, 2): 0.0}),
        (smoothed, {(0, 0, 1): 0.58, (0, 1, 0): 0.58, (0, 1, 1): 0.34}),
        (along_rows, {(0, 0, 1): 2 / 3, (0, 0, 2): 1 / 3, (0, 1, 0): 0.0}),
        (row_offsets, {(0, 0, 1): 0.34, (0, 0, 8): 0.34, (0, 1, 0): 0.0}),
    ],
)
def test_correlations_are_found(
    processed: Callable[[Image], Image], expected: dict[tuple[int, int, int], float]
) -> None:
    found = found_in(processed(measured()), psf_values(psf(), 2))
    assert found is not None
    for lag, rho in expected.items():
        assert found.at(lag) == pytest.approx(rho, abs=0.12), lag  # three times its standard error on these windows


def test_correlation_between_planes_is_found() -> None:
    section = parsed(psf={"kind": "gaussian", "fwhm_px": {"z": 3, "y": FWHM, "x": FWHM}}, tiling={"dimensions": 3})
    values = gaussian_psf(section.psf[0] if isinstance(section.psf, tuple) else section.psf, None, 3)
    white = np.random.default_rng(4).poisson(40, (9, 96, 96)).astype(float) * 3
    found = found_in(100 + (white[1:] + white[:-1]) / 2, np.asarray(values / values.sum(), np.float32))
    assert found is not None
    assert found.at((1, 0, 0)) == pytest.approx(0.5, abs=0.1)
    assert found.at((0, 0, 1)) == pytest.approx(0.0, abs=0.1)


def test_noise_has_the_variance_of_one_pixel() -> None:
    """The mean of four pixels has a quarter of the variance: alpha 2 / 4, and chi squared and whiteness follow."""
    known = calibrated(mean_2x2(measured()), parsed())
    dark = known.noise_sigma**2 + known.noise_alpha * (130 - (known.dark or 0))
    # at the background: 15 photons of variance 4 each, read noise 4, of four pixels
    assert dark == pytest.approx((4 * 15 + 4) / 4, rel=0.2)
    assert ChannelCalibration.from_json(json.loads(json.dumps(known.to_json()))) == known
    assert "hidden together" in correlation_words(known.correlation)


def test_a_given_width_is_taken_whole() -> None:
    known = calibrated(measured(), parsed(sensor={"correlation": {"y": 0, "x": 2}}))
    assert known.correlation is not None
    assert known.correlation.footprint(2).tolist() == [[True] * 5]
    assert all(abs(value) < 0.1 for value in known.correlation.values)
    assert calibrated(mean_2x2(measured()), parsed(sensor={"correlation": "none"})).correlation is None


# --- what is hidden


def test_hidden_share_is_bounded() -> None:
    footprint = torch.ones((5, 5), dtype=torch.bool)
    mask = draw_mask((400, 400), parsed().masking, generator(0, 1), footprint)
    assert float(cover(mask, footprint).float().mean()) == pytest.approx(0.5, abs=0.02)
    judged = torch.rand((400, 400), generator=generator(1, 1)) < heldout_share(footprint)
    assert float(cover(judged, footprint).float().mean()) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("size", [(3, 5), (1, 17), (3, 1, 5)])
def test_a_mask_grows_by_its_footprint(size: tuple[int, ...]) -> None:
    shape = (9, 30, 40)[-len(size) :]
    mask = torch.rand(shape, generator=generator(2, 1)) < 0.02
    cross = torch.ones(size, dtype=torch.bool)
    cross[(0,) * len(size)] = cross[(-1,) * len(size)] = False
    for footprint in (torch.ones(size, dtype=torch.bool), cross):
        expected = ndimage.binary_dilation(mask.numpy(), footprint.numpy())
        np.testing.assert_array_equal(cover(mask, footprint).numpy(), expected)


def test_nothing_of_the_shared_noise_is_seen() -> None:
    """Changing hidden pixels and their neighbours changes no bit of what estimates are computed from."""
    config = parsed()
    image = mean_2x2(measured())
    problem = build_problem(psf(), calibrated(image, config), config, "cpu")
    assert problem.footprint is not None
    sample = as_measurement(image)
    tile = make_tile_tensors(problem, sample, seed=5)
    around = cover(tile.heldout, problem.footprint)
    assert int(around.sum()) > 5 * int(tile.heldout.sum())
    noise = np.random.default_rng(6).normal(0, 300, image.shape)
    other = Measurement((sample.y + np.where(around.numpy(), noise, 0)[None]).astype(np.float32), sample.observed)
    changed = make_tile_tensors(problem, other, seed=5)
    torch.testing.assert_close(changed.channels, tile.channels, rtol=0, atol=0)
    before, after = without_heldout(problem, tile), without_heldout(problem, changed)
    torch.testing.assert_close(after.repaired, before.repaired, rtol=0, atol=0)
    assert not bool((before.known & around).any())


# --- what is counted


def test_smooth_noise_is_no_signal() -> None:
    correlation = NoiseCorrelation(((0, 0, 1), (0, 1, 0), (0, 1, 1), (0, 1, -1)), (0.5, 0.5, 0.25, 0.25))
    noise, values = NoiseModel(0.0, 0.5), psf_values(psf(), 2)
    fields = [ndimage.uniform_filter(np.random.default_rng(seed).standard_normal((96, 96)), 2) for seed in range(6)]
    usable = np.ones((96, 96), bool)
    assert all(is_noise_only(y, usable, noise, values, correlation) for y in fields)
    assert not any(is_noise_only(y, usable, noise, values) for y in fields)
    fields[0][48, 48] += 40
    assert not is_noise_only(ndimage.gaussian_filter(fields[0], 1.5), usable, noise, values, correlation)


def test_a_run_is_better_than_its_input_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = mean_2x2(2 * scene() + 100)
    image = np.rint(mean_2x2(measured())).astype(np.uint16)
    tifffile.imwrite(tmp_path / "in.tif", image, photometric="minisblack")
    (tmp_path / "run.yaml").write_text(
        yaml.safe_dump({**CONFIG, "executor": {"kind": "serial"}, "quality": {"extended": True}})
    )
    assert main(["run", str(tmp_path / "run.yaml")]) == 0
    assert "noise correlated over" in capsys.readouterr().err
    output = zarr.open_group(tmp_path / "out.zarr", mode="r")
    found = np.asarray(output["0"])
    goal = ndimage.gaussian_filter(truth, 1)
    # as white noise its weight is far too small, and the error ten times as large
    assert np.square(found - goal).mean() < 0.8 * np.square(image - goal).mean()
    scores = {name: float(np.asarray(output[f"quality/{name}"]).ravel()[0]) for name in ("chi2", "whiteness")}
    assert scores["chi2"] == pytest.approx(1, abs=0.2)
    assert scores["whiteness"] < 0.3
