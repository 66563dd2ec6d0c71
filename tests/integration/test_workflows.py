"""Every workflow loads and can be planned on an image of its kind."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from plates import write_plate

from ssi_pipeline.cli import main

FOLDER = Path(__file__).parents[2] / "workflows"

INPUTS = {
    "quickstart.yaml": ("input.zarr", "zyx", (4, 300, 280)),
    "widefield-stack.yaml": ("stack.tif", "zyx", (40, 201, 101)),
    "quick-tv.yaml": ("input.zarr", "zyx", (4, 300, 280)),
    "denoise.yaml": ("input.zarr", "yx", (300, 280)),
    "slurm.yaml": ("stack.zarr", "zyx", (40, 201, 101)),
    "plate.yaml": ("plate.zarr", "czyx", (1, 2, 30, 28)),
    "timelapse-channels.yaml": ("timelapse.zarr", "tcyx", (3, 2, 300, 280)),
}


def test_every_workflow_is_tried() -> None:
    assert {path.name for path in FOLDER.glob("*.yaml")} == set(INPUTS)


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_says_what_it_is_for_and_plans(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (FOLDER / name).read_text()
    assert text.startswith("# For: ")
    assert "\n# Needs: " in text
    file, axes, shape = INPUTS[name]
    values = np.random.default_rng(0).integers(0, 1000, shape, dtype=np.uint16)
    if file == "plate.zarr":
        write_plate(tmp_path / file, 1, 2, shape, axes=axes)
    elif file.endswith(".tif"):
        tifffile.imwrite(tmp_path / file, values)
    else:
        array = zarr.create_array(
            tmp_path / file, shape=shape, chunks=shape, dtype="uint16", dimension_names=tuple(axes)
        )
        array[...] = values
    shutil.copy(FOLDER / name, tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    assert main(["plan", str(tmp_path / name)]) == 0
    printed = capsys.readouterr().out
    for word in ("tiles", "blocks", "halo", "scratch", "memory"):
        assert word in printed
    assert sorted(tmp_path.rglob("*")) == before
