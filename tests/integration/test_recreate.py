"""``ssi run --recreate-output`` recreates an output that a workflow manager has deleted, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import zarr
from builders import beads, complete, config_of, go, hashes, image_files, make_run, ramp, records
from damage import cut_ledger, said

from ssi_pipeline.cli import main
from ssi_pipeline.errors import OutputError
from ssi_pipeline.run import verify


@pytest.mark.parametrize("blend", [pytest.param(0, marks=pytest.mark.long), 8])
@pytest.mark.parametrize("when", ["complete", "begun"])
def test_an_output_that_was_deleted_is_made_again(
    tmp_path: Path, blend: int, when: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tiling, output = {"core": 32, "blend": blend}, {"keep_scratch": True}
    config = make_run(tmp_path, beads((1, 64, 96)), solver="wiener", tiling=tiling, output=output)
    good = hashes(complete(config))
    if when == "begun":
        cut_ledger(config, 9)
    known = {r.index for r in records(config, "solve")}
    shutil.rmtree(tmp_path / "out.zarr")
    with pytest.raises(OutputError, match=r"is missing.*--recreate-output"):
        go(config)
    assert main(["status", str(config)]) == 4
    assert "the output is missing" in capsys.readouterr().out  # and not that `ssi run` completes it
    assert main(["run", str(config), "--recreate-output"]) == 0
    assert "is missing: created again" in said(capsys)
    assert hashes(tmp_path / "out.zarr") == good
    assert [r.status for r in records(config, "calibrate")] == ["done"]
    assert verify(config_of(config)).good
    if blend:  # what is in the scratch is not solved again
        again = [r.index for r in records(config, "solve") if r.status == "done"][len(known) :]
        assert not known & set(again)
    assert go(config, recreate_output=True).computed_tiles == 0


def test_recreating_goes_on_with_what_is_there(tmp_path: Path) -> None:
    config = make_run(tmp_path, beads((1, 64, 96)), solver="wiener")
    assert go(config, recreate_output=True).complete
    good = hashes(tmp_path / "out.zarr")
    cut_ledger(config, 6)
    outcome = go(config, recreate_output=True)
    assert outcome.complete
    assert 0 < outcome.computed_tiles < 6
    assert hashes(tmp_path / "out.zarr") == good


def test_recreating_puts_another_run_of_ours_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path / "a", ramp((1, 64, 96)))
    other = make_run(tmp_path / "b", ramp((1, 64, 96), seed=1))
    good, others = hashes(complete(config)), hashes(complete(other))
    shutil.rmtree(tmp_path / "a" / "out.zarr")
    shutil.copytree(tmp_path / "b" / "out.zarr", tmp_path / "a" / "out.zarr")
    assert go(config, recreate_output=True).complete
    assert hashes(tmp_path / "a" / "out.zarr") == good
    (aside,) = (tmp_path / "a").glob("out.zarr.old-*")
    assert str(aside) in said(capsys)
    assert hashes(aside) == others


def test_recreating_without_a_state_folder_keeps_what_is_there_aside(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 64, 96)))
    good = hashes(complete(config))
    shutil.rmtree(config_of(config).state_path)
    assert go(config, recreate_output=True).complete
    (aside,) = tmp_path.glob("out.zarr.old-*")
    assert hashes(aside) == hashes(tmp_path / "out.zarr") == good


@pytest.mark.parametrize("blocks", [1, 6])
def test_recreating_with_shards_that_a_dying_worker_left(tmp_path: Path, blocks: int) -> None:
    """It makes folders again that were deleted under it: shards without any metadata."""
    config = make_run(tmp_path, ramp((1, 64, 96)))
    good = hashes(complete(config))
    left = {path: path.read_bytes() for path in image_files(tmp_path / "out.zarr")[:blocks]}
    shutil.rmtree(tmp_path / "out.zarr")
    for path, content in left.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert go(config, recreate_output=True).complete
    assert hashes(tmp_path / "out.zarr") == good


def test_recreating_refuses_what_is_not_ours(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 64, 96)))
    complete(config)
    shutil.rmtree(tmp_path / "out.zarr")
    (tmp_path / "out.zarr").mkdir()
    (tmp_path / "out.zarr" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="was not written by ssi"):
        go(config, recreate_output=True)
    assert (tmp_path / "out.zarr" / "thesis.txt").read_text() == "years of work"
    shutil.rmtree(tmp_path / "out.zarr")
    zarr.create_array(tmp_path / "out.zarr", data=ramp((4, 4)))
    with pytest.raises(OutputError, match="was not written by ssi"):
        go(config, recreate_output=True)


def test_recreating_does_not_write_where_a_disk_is_not_mounted(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    output = {"path": "disk/images/out.zarr", "state": str(tmp_path / "state")}
    config = make_run(tmp_path, ramp((1, 64, 96)), output=output)
    complete(config)
    shutil.rmtree(tmp_path / "disk" / "images")
    with pytest.raises(OutputError, match="is its disk mounted"):
        go(config, recreate_output=True)
    assert not (tmp_path / "disk" / "images").exists()


@pytest.mark.parametrize("option", [["--new"], ["--part", "1/2"], ["--finish"]])
def test_recreating_excludes_other_ways(tmp_path: Path, option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path, ramp((1, 64, 96)))
    assert main(["run", str(config), "--recreate-output", *option]) == 2
    assert "--recreate-output" in said(capsys)
    assert not (tmp_path / "out.zarr").exists()
