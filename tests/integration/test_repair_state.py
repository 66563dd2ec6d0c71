"""Damaged files of the state folder and damaged metrics: repaired by the next start, reported by verify."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from builders import (
    EXTENDED,
    TINY,
    beads,
    complete,
    config_of,
    contents,
    go,
    hashes,
    image_files,
    make_run,
    ramp,
    records,
)
from damage import BLENDED, HARMS, Harm, copied, cut_ledger, empty, ledger_of, said, with_garbage

from ssi_pipeline.cli import main
from ssi_pipeline.errors import DamagedStateError, MissingStateError
from ssi_pipeline.report import write_report
from ssi_pipeline.run import verify
from ssi_pipeline.storage.outputs.quality_arrays import read_quality
from ssi_pipeline.tasks.opening import open_context


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with scratch that has ended well, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    complete(make_run(folder, beads((1, 64, 96)), solver="wiener", tiling=BLENDED, **EXTENDED))
    return folder


@pytest.mark.parametrize("harm", HARMS)
def test_a_psf_is_written_again_and_no_tile_fails(
    finished: Path, tmp_path: Path, harm: Harm, capsys: pytest.CaptureFixture[str]
) -> None:
    config = copied(finished, tmp_path)
    good = hashes(tmp_path / "out.zarr")
    psf = config_of(config).state_path / "psf-c0.npy"
    before = psf.read_bytes()
    harm(psf)
    image_files(tmp_path / "out.zarr")[0].unlink()
    assert any(str(psf) in text for text in verify(config_of(config)).damage)
    with pytest.raises((DamagedStateError, MissingStateError), match="the next start writes it"):
        open_context(config_of(config)).psf(0)
    assert hashes(complete(config)) == good
    assert psf.read_bytes() == before
    assert f"{psf} is {'missing' if harm is Path.unlink else 'damaged'}: repaired" in said(capsys)
    assert {r.status for r in records(config, "solve")} == {"done"}


def test_a_psf_of_other_values_is_damaged(finished: Path, tmp_path: Path) -> None:
    config = copied(finished, tmp_path)
    psf = config_of(config).state_path / "psf-c0.npy"
    before = psf.read_bytes()
    np.save(psf, np.ones((1, 3, 3), np.float32) / 9)
    complete(config)
    assert psf.read_bytes() == before


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("when", [pytest.param("complete", marks=pytest.mark.long), "begun"])
def test_calibration_and_models_are_made_again_from_the_ledger(
    finished: Path, tmp_path: Path, harm: Harm, when: str
) -> None:
    config = copied(finished, tmp_path)
    good = hashes(tmp_path / "out.zarr")
    state = config_of(config).state_path
    if when == "begun":
        cut_ledger(config, 4)
    before = {name: (state / name).read_bytes() for name in ("calibration.json", "models.json")}
    for name in before:
        harm(state / name)
    assert all(any(name in text for text in verify(config_of(config)).damage) for name in before)
    if when == "complete" and harm is empty:
        write_report(config_of(config))
    assert hashes(complete(config)) == good
    assert {name: (state / name).read_bytes() for name in before} == before
    assert [r.status for r in records(config, "calibrate")] == ["done"]


def test_a_calibration_of_which_nothing_is_left_is_done_again(finished: Path, tmp_path: Path) -> None:
    """Its file and its line of the ledger are lost: also where every tile is done."""
    config = copied(finished, tmp_path)
    good = hashes(tmp_path / "out.zarr")
    state = config_of(config).state_path
    before = (state / "calibration.json").read_bytes()
    (state / "calibration.json").unlink()
    with_garbage(ledger_of(config), 0)
    assert hashes(complete(config)) == good
    assert (state / "calibration.json").read_bytes() == before
    assert read_quality(tmp_path / "out.zarr", "status") is not None


def test_a_shared_network_survives_the_loss_of_its_list(tmp_path: Path) -> None:
    tiny = {**TINY, "training": {**TINY["training"], "scope": "shared"}}
    config = make_run(tmp_path, beads((1, 64, 64)), solver="ssi", **tiny)
    good = hashes(complete(config))
    models = config_of(config).state_path / "models.json"
    before = models.read_bytes()
    empty(models)
    image_files(tmp_path / "out.zarr")[0].unlink()
    assert hashes(complete(config)) == good
    assert models.read_bytes() == before
    assert [r.status for r in records(config, "train")] == ["done"]


@pytest.mark.parametrize("harm", HARMS)
def test_scratch_is_read_again_when_its_metadata_are_back(tmp_path: Path, harm: Harm) -> None:
    config = make_run(tmp_path, ramp((1, 64, 96)), tiling=BLENDED, output={"keep_scratch": True})
    good = hashes(complete(config))
    (scratch,) = config_of(config).state_path.glob("scratch-*.zarr")
    before = json.loads((scratch / "zarr.json").read_bytes())
    harm(scratch / "zarr.json")
    for file in image_files(tmp_path / "out.zarr"):
        file.unlink()
    outcome = go(config)
    assert outcome.complete
    assert outcome.computed_tiles == 0
    assert hashes(tmp_path / "out.zarr") == good
    assert json.loads((scratch / "zarr.json").read_bytes()) == before


# quality/


def lose_all(quality: Path) -> None:
    shutil.rmtree(quality)


def lose_one(quality: Path) -> None:
    shutil.rmtree(quality / "flag")


def lose_values(quality: Path) -> None:
    shutil.rmtree(quality / "chi2" / "c")


def empty_metadata(quality: Path) -> None:
    empty(quality / "status" / "zarr.json")
    empty(quality / "zarr.json")


def flip(quality: Path) -> None:
    (file,) = (file for file in (quality / "seconds" / "c").rglob("*") if file.is_file())
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 8
    file.write_bytes(content)


@pytest.mark.parametrize(
    "harm", [pytest.param(lose_all, marks=pytest.mark.long), lose_one, lose_values, empty_metadata, flip]
)
def test_metrics_in_the_output_are_missed_and_made_again(
    finished: Path, tmp_path: Path, harm: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    config = copied(finished, tmp_path)
    quality, page = tmp_path / "out.zarr" / "quality", tmp_path / "report.html"
    before = contents(quality)
    harm(quality)
    assert main(["verify", str(config)]) == 1
    assert "metrics missing or unreadable" in said(capsys)
    if harm is lose_all:
        assert main(["report", str(config), "--output", str(page)]) == 0
        assert "metrics missing or unreadable" in page.read_text()
    capsys.readouterr()
    outcome = go(config)
    assert outcome.complete
    assert outcome.computed_tiles == 0
    assert "repaired from the ledger" in said(capsys)
    assert contents(quality) == before
    assert verify(config_of(config)).good
    if harm is lose_all:
        assert main(["report", str(config), "--output", str(page)]) == 0
        assert "metrics missing or unreadable" not in page.read_text()


def test_metrics_that_somebody_changed_are_told_from_the_ledgers(finished: Path, tmp_path: Path) -> None:
    config = copied(finished, tmp_path)
    zarr.open_array(tmp_path / "out.zarr" / "quality" / "attempts", mode="r+")[...] = 7
    (damage,) = verify(config_of(config)).damage
    assert "1 of" in damage
    assert "metrics different from the ledger (attempts)" in damage
