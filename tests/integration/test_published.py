"""The published recipe from zarr to OME-Zarr, tile by tile, and its report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from builders import beads, complete, config_of, go, hashes, level, make_run, records

from ssi_pipeline.cli import main
from ssi_pipeline.report import write_report
from ssi_pipeline.results.finish import METHODS


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def published_run(folder: Path, solver: str = "ssi_published") -> Path:
    return make_run(
        folder,
        beads((1, 40, 80)),
        solver=solver,
        published={"steps": 3},
        tiling={"core": 40, "blend": 6},
        output={"dtype": "float32"},
    )


def test_two_tiles_are_solved_by_the_recipe_and_resumed(tmp_path: Path) -> None:
    config = published_run(tmp_path)
    output = complete(config)
    found = level(output)
    assert found.shape == (1, 40, 80)
    assert np.isfinite(found).all()
    assert found.std() > 0
    solved = records(config, "solve")
    assert [(r.quality["method"], r.quality["steps"], r.quality["trainings"]) for r in solved] == [
        ("published", 3, 1),
        ("published", 3, 1),
    ]
    assert {r.quality.get("heldout_after") for r in solved} == {None}  # it holds no pixel out
    assert (zarr.open_array(output / "quality" / "method", mode="r")[...] == METHODS["published"]).all()
    assert go(config).computed_tiles == 0
    page = write_report(config_of(config)).read_text()
    assert "network by the published recipe" in page


def test_the_control_without_masks_is_another_solver(tmp_path: Path) -> None:
    masked = hashes(complete(published_run(tmp_path / "masked")))
    again = hashes(complete(published_run(tmp_path / "again")))
    unmasked = hashes(complete(published_run(tmp_path / "unmasked", "ssi_published_unmasked")))
    assert masked == again
    assert masked != unmasked


def test_an_image_too_small_for_its_poolings_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_run(tmp_path, beads((1, 31, 80)), solver="ssi_published", published={"steps": 3})
    for command in ("plan", "run"):
        assert main([command, str(config)]) == 2
        assert "the image has 31 pixels along y, but the published network needs 32" in capsys.readouterr().err
    assert not (tmp_path / "out.zarr").exists()
