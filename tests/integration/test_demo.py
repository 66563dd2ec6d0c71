"""The embedded example, solved on two dask workers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from builders import config_of

from ssi_pipeline.benchmark.protocol import LEVELS, benchmark_psf, degrade
from ssi_pipeline.cli import main
from ssi_pipeline.demo import volume
from ssi_pipeline.demo.demo import Comparison, prepare_demo, solve_demo
from ssi_pipeline.demo.picture import save_picture
from ssi_pipeline.demo.volume import _PLANES, truth
from ssi_pipeline.storage.inputs.source import open_source, spec_of


def test_the_degradation_is_that_of_the_protocol() -> None:
    plane = np.full((200, 300), 0.5, np.float32)
    counts = degrade(plane, benchmark_psf())[20:-20, 20:-20] / LEVELS
    # away from the zero-filled border: noise of variance 0.001 * 0.5 + 0.01, and 1 % uniform in [0, 1]
    assert abs(np.median(counts) - 0.5) < 0.002
    spread = np.subtract(*np.percentile(counts, [84.13, 15.87])) / 2
    assert abs(spread / np.sqrt(0.0105) - 1) < 0.03
    assert (degrade(plane, benchmark_psf()) == degrade(plane, benchmark_psf())).all()
    assert truth().min() == 0
    assert truth().max() == 1


def test_the_data_alone_are_written_in_a_second(tmp_path: Path) -> None:
    assert main(["demo", "--data-only", "--output", str(tmp_path)]) == 0
    assert not (tmp_path / "output.zarr").exists()
    assert open_source(spec_of(config_of(tmp_path / "run.yaml").input)).volume.shape[2:] == (4, 384, 384)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.long)])
def test_ours_is_above_the_input_and_the_best_richardson_lucy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """A quarter of one plane, in two tiles, after 20 steps in place of 150; or the demo as it is."""
    if not whole:
        monkeypatch.setattr(volume, "_PLANES", {"camera": _PLANES["camera"]})
        monkeypatch.setattr(volume, "SHAPE", (96, 384))
    configuration = prepare_demo(tmp_path)
    if not whole:
        configuration.write_text(re.sub(r"steps: \d+", "steps: 20", configuration.read_text()))
        assert config_of(configuration).training.steps == 20
    comparison = solve_demo(tmp_path)
    assert isinstance(comparison, Comparison), comparison
    noisy, lucy, ours = comparison.rows
    assert ours.psnr_db >= noisy.psnr_db + 4
    assert ours.psnr_db > lucy.psnr_db
    assert ours.ssim > max(noisy.ssim, lucy.ssim)
    save_picture(tmp_path / "picture.png", comparison.truth, comparison.rows)
    assert (tmp_path / "picture.png").stat().st_size > 10_000
