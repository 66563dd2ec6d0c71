"""`ssi preview` from input to page, with small settings."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from test_report import write_image

from ssi_pipeline.cli import main
from ssi_pipeline.preview.choose import differing
from ssi_pipeline.quality.ranks import SCORED, rank_sum


def make(root: Path, **changes: Any) -> Path:
    write_image(root / "in.zarr", (2, 64, 96), "zyx")
    document = {
        "input": {"path": "in.zarr", "voxel_size_um": {"z": 1.0, "y": 0.1, "x": 0.1}},
        "output": {"path": "out.zarr"},
        "psf": {"kind": "gaussian", "fwhm_px": {"y": 2.0, "x": 2.0}},
        "tiling": {"core": 32},
        "network": {"width": 2, "levels": 1},
        "training": {"steps": 2, "batch": 1, "select": "network"},
        "executor": {"kind": "serial", "device": "cpu"},
        **changes,
    }
    (root / "run.yaml").write_text(yaml.safe_dump(document))
    return root / "run.yaml"


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "tiles.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_a_preview_tells_what_a_run_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, folder = make(tmp_path), tmp_path / "preview"
    assert main(["preview", str(config), "--tiles", "3", "--output", str(folder)]) == 0
    said = capsys.readouterr().out
    assert not list(tmp_path.glob("out.zarr*")), "the run's own output is not touched"
    rows = table(folder)
    assert [row["why"] for row in rows] == ["bright", "dim", "busy"]
    assert len({row["tile"] for row in rows}) == 3
    assert all(float(row["heldout_after"]) > 0 and float(row["seconds"]) > 0 for row in rows)
    assert "from 3 tiles: preview" in " ".join(said.split())
    assert "12 = 1 x 1 x 2 x 2 x 3" in (folder / "plan.txt").read_text()
    assert (folder / "contact-sheet.png").stat().st_size > 30_000


def test_variants_are_compared_on_the_same_tiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, folder = make(tmp_path, solver="tv"), tmp_path / "preview"
    for name, sigma in (("narrow", 0.8), ("wide", 2.5)):
        grid = np.mgrid[-7:8, -7:8]
        tifffile.imwrite(tmp_path / f"{name}.tif", np.exp(-(grid**2).sum(0) / (2 * sigma**2)).astype(np.float32))
    psfs = [str(tmp_path / "narrow.tif"), str(tmp_path / "wide.tif")]
    change = "classical.weight=0.01,0.3"
    arguments = ["preview", str(config), "--tiles", "1", "--output", str(folder), "--psf", *psfs, "--set", change]
    assert main([*arguments, "--set", "masking.density=0.2"]) == 0
    rows = table(folder)
    assert len({row["variant"] for row in rows}) == len(rows) == 4
    assert len({row["tile"] for row in rows}) == 1
    assert len({row["heldout_after"] for row in rows}) == 4
    said = capsys.readouterr().out
    scores = rank_sum([{name: float(row[name]) for name in SCORED if row.get(name)} for row in rows])
    ordered = [line for line in said.splitlines() if "(rank sum over" in line]
    best = rows[int(np.argmin(scores))]["variant"]
    assert ordered[0] == f"{best}: {min(scores):.4g} (rank sum over {', '.join(SCORED)})"
    assert len(ordered) == 4
    plain = ["--set", "quality.extended=false"]
    assert main([*arguments, *plain]) == 0
    best = min(table(folder), key=lambda row: float(row["heldout_after"]))["variant"]
    assert f"{best}: 1 (held-out loss relative to the best)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tiles", "0"], "--tiles is 0: expected 1 or more"),
        (["--set", "training.steps"], "expected key=value"),
        (["--set", "training.steps=none-of-these"], "training.steps"),
        (["--set", "nonsense.steps=3"], "nonsense: unknown key"),
        (["--set", "output.path=here,there"], "input, output and executor cannot vary"),
        (["--psf", "absent.tif"], "absent.tif not found"),
        (["--set", "training.steps=1,2,3,4", "--set", "seed=1,2,3,4"], "16 variants: expected at most 12"),
        (["--set", "tiling.core=32,64"], "only variants with the same tiles can be compared"),
    ],
)
def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    config = make(tmp_path, solver="wiener")
    assert main(["preview", str(config), "--output", str(tmp_path / "preview"), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_an_output_that_is_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make(tmp_path)
    assert main(["preview", str(config), "--output", str(config)]) == 2
    assert "cannot create the folder" in capsys.readouterr().err


def test_tiles_differ() -> None:
    statistics = np.array([[1.0, 5.0], [9.0, 4.0], [5.0, 0.0], [4.0, 9.0], [5.0, 5.0], [6.0, 6.0]])
    chosen = dict(differing(statistics, 4))
    assert chosen == {1: "bright", 0: "dim", 3: "busy", 2: "empty"}
    assert len(differing(statistics, 20)) == 6
