"""Inputs with NaN: interpolated where possible, otherwise refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import SERIAL, TINY, complete, config_of, go, level, make_run
from numpy.typing import NDArray
from scipy import ndimage

from ssi_pipeline.cli import main
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.tasks.pixels import fill_unseen


def scene(n: int = 128) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return a smooth ground truth of 40 to 60 photons, and its blurred, noisy measurement, z y x."""
    rng = np.random.default_rng(0)
    truth = np.clip(50 + 60 * ndimage.gaussian_filter(rng.normal(size=(1, n, n)), (0, 6, 6)), 40, 60)
    return truth, rng.poisson(ndimage.gaussian_filter(truth, (0, 1.5, 1.5))).astype(np.float32)


def with_gaps(y: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    return np.where(np.random.default_rng(1).random(y.shape) < share, np.nan, y).astype(np.float32)


WIDE = {"kind": "gaussian", "fwhm_px": {"y": 3.5, "x": 3.5}}


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7])
def test_noise_is_found_between_scattered_gaps(share: float) -> None:
    _, y = scene()
    gaps = with_gaps(y, share)
    finite = np.isfinite(gaps)
    psf = Psf(np.ones((1, 1, 1), np.float32))
    found = calibrate([Measurement(fill_unseen(gaps, finite), finite)], psf, config_for_calibration())
    dark = found.offset if found.dark is None else found.dark
    variance = found.noise_alpha * max(50 - dark, 0) + found.noise_sigma**2
    assert 0.7 * 50 < variance < 1.4 * 50  # Poisson: the mean; 18 % of 128 x 128 windows of three are whole at .5


def config_for_calibration() -> Any:
    from ssi_pipeline.config import parse_config

    return parse_config(
        {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {"kind": "identity"}, "solver": "wiener"}
    )


@pytest.mark.parametrize("solver", ["wiener", "tv_cg", "richardson_lucy", "ssi"])
def test_half_of_the_pixels_can_be_missing(tmp_path: Path, solver: str) -> None:
    truth, y = scene()
    config = make_run(
        tmp_path, with_gaps(y, 0.5), solver=solver, psf=WIDE, tiling={"core": 128}, executor=SERIAL,
        **(TINY if solver == "ssi" else {}),
    )  # fmt: skip
    found = level(complete(config))
    inner = (slice(None), slice(8, -8), slice(8, -8))
    assert found[inner].min() > 35
    assert found[inner].max() < 65
    # half of the pixels tell half as much: the whole image has .9 to 1.3 with these solvers
    assert np.sqrt(np.mean((found - truth)[inner] ** 2)) < 2.2


def test_an_image_without_a_finite_pixel_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path, np.full((1, 64, 64), np.nan, np.float32), solver="wiener", executor=SERIAL)
    assert main(["run", str(config)]) != 0
    shown = " ".join(capsys.readouterr().err.split())
    assert "channel 0 has only NaN or infinite pixels (all of it was read)" in shown


def test_a_small_finite_part_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssi_pipeline.tasks.samples._SAMPLES", 1)
    image = np.full((1, 64, 2048), np.nan, np.float32)
    image[..., 1500:1600] = scene()[1][:, :64, :100]
    config = make_run(tmp_path, image, solver="wiener", psf=WIDE, tiling={"core": 64}, executor=SERIAL)
    found = level(complete(config))
    assert 30 < found[..., 1510:1590].min() < found[..., 1510:1590].max() < 70
    # tiles that saw nothing hold the background level, not 0
    assert found[..., :1024].min() > 30
    log = StatePaths(config_of(config).state_path).log.read_text()
    assert "tiles contain NaN or infinite pixels" in log


def test_a_gap_is_counted_once_a_run(tmp_path: Path) -> None:
    y = scene(64)[1]
    assert go(make_run(tmp_path / "a", y, solver="wiener", executor=SERIAL)).complete
    log = StatePaths(config_of(tmp_path / "a" / "run.yaml").state_path).log.read_text()
    assert "NaN" not in log
