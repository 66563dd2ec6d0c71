"""Resume from every point between two ledger lines, and from every file of the state folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import zarr
from builders import TINY, beads, complete, config_of, go, hashes, image_files, make_run, ramp, records

import ssi_pipeline.run.session as session
from ssi_pipeline.cli import main
from ssi_pipeline.errors import OutputError, RunChangedError
from ssi_pipeline.executors.serial import SerialExecutor
from ssi_pipeline.results.status import read_status
from ssi_pipeline.run import verify
from ssi_pipeline.storage.state.records import Job


@pytest.mark.parametrize("blend", [8, pytest.param(0, marks=pytest.mark.long)])
def test_killed_between_any_two_lines(tmp_path: Path, blend: int) -> None:
    config = make_run(tmp_path / "whole", ramp((1, 64, 300)), tiling={"core": {"y": 64, "x": 100}, "blend": blend})
    good = hashes(complete(config))
    lines = (config_of(config).state_path / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) > 7
    for count in range(len(lines)):
        folder = tmp_path / f"cut{count}"
        shutil.copytree(tmp_path / "whole", folder)
        cut = folder / "run.yaml"
        (config_of(cut).state_path / "ledger.jsonl").write_bytes(b"".join(lines[:count]))
        assert hashes(complete(cut)) == good
        status = read_status(config_of(cut))
        assert (status.tiles_done, status.tiles_failed) == (3, 0)
        quality = zarr.open_array(folder / "out.zarr" / "quality" / "status", mode="r")[...]
        assert (np.asarray(quality) == 1).all()
        assert verify(config_of(cut)).good


def test_a_lost_shared_network_is_trained_again(tmp_path: Path) -> None:
    tiny = {**TINY, "training": {**TINY["training"], "scope": "shared"}}
    config = make_run(tmp_path, beads((1, 64, 64)), solver="ssi", **tiny)
    good = hashes(complete(config))
    model = config_of(config).state_path / "models" / "shared-c0.pt"
    model.unlink()
    image_files(tmp_path / "out.zarr")[0].unlink()
    assert hashes(complete(config)) == good
    assert model.is_file()
    assert [r.status for r in records(config, "train")] == ["done", "invalid", "done"]


@pytest.mark.long
def test_a_network_to_start_from_is_part_of_the_run(tmp_path: Path) -> None:
    made = {}
    for steps in (8, 10):
        tiny = {**TINY, "training": {**TINY["training"], "scope": "shared", "steps": steps}}
        donor = make_run(tmp_path / f"donor{steps}", beads((1, 64, 64)), solver="ssi", **tiny)
        complete(donor)
        made[steps] = config_of(donor).state_path / "models" / "shared-c0.pt"
    given = tmp_path / "given.pt"
    shutil.copy(made[8], given)
    training = {**TINY["training"], "scope": "shared", "start_from": str(given)}
    config = make_run(tmp_path / "user", beads((1, 64, 64)), solver="ssi", **{**TINY, "training": training})
    good = hashes(complete(config))
    shutil.copy(made[10], given)
    with pytest.raises(RunChangedError, match="start_from"):
        go(config)
    shutil.copy(made[8], given)
    image_files(tmp_path / "user" / "out.zarr")[0].unlink()
    assert hashes(complete(config)) == good


def test_networks_of_tiles_are_kept(tmp_path: Path) -> None:
    tiny = {**TINY, "training": {**TINY["training"], "steps": 60, "keep_models": True}}
    config = make_run(tmp_path, beads((1, 64, 64)), solver="ssi", tiling={"core": 64}, **tiny)
    complete(config)
    kept = list((config_of(config).state_path / "models").rglob("tile-*.pt"))
    solved = [r for r in records(config, "solve") if r.quality["method"] == "network"]
    assert len(kept) == len(solved)


def test_another_output_is_neither_written_nor_believed(tmp_path: Path) -> None:
    config = make_run(tmp_path / "a", ramp((1, 64, 64)))
    other = make_run(tmp_path / "b", ramp((1, 64, 64), seed=1))
    complete(config)
    good = hashes(complete(other))
    shutil.rmtree(tmp_path / "a" / "out.zarr")
    with pytest.raises(OutputError, match="is missing"):
        go(config)
    shutil.copytree(tmp_path / "b" / "out.zarr", tmp_path / "a" / "out.zarr")
    with pytest.raises(OutputError, match="belongs to run"):
        go(config)
    assert main(["verify", str(config)]) == 2
    assert hashes(tmp_path / "a" / "out.zarr") == good


def test_a_copy_of_a_run_is_verified_where_it_is(tmp_path: Path) -> None:
    config = make_run(tmp_path / "a", ramp((1, 64, 64)))
    complete(config)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    image_files(tmp_path / "a" / "out.zarr")[0].unlink()
    assert verify(config_of(tmp_path / "b" / "run.yaml")).good
    assert not verify(config_of(config)).good


def test_new_leaves_what_is_not_ours(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 64, 64)))
    complete(config)
    shutil.rmtree(tmp_path / "out.zarr")
    (tmp_path / "out.zarr").mkdir()
    (tmp_path / "out.zarr" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="was not written by ssi"):
        go(config, new=True)
    assert (tmp_path / "out.zarr" / "thesis.txt").read_text() == "years of work"


def test_a_damaged_scratch_chunk_is_one_repair_for_all_its_blocks(tmp_path: Path) -> None:
    shard = {"z": 1, "y": 16, "x": 16}
    config = make_run(
        tmp_path, ramp((1, 64, 128)), tiling={"core": 64, "blend": 8}, output={"keep_scratch": True, "shard": shard}
    )
    good = hashes(complete(config))
    chunk = next(config_of(config).state_path.glob("scratch-*.zarr")) / "1.0.0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-40] + bytes(40))
    for file in image_files(tmp_path / "out.zarr"):
        file.unlink()
    assert hashes(complete(config)) == good
    assert [r.status for r in records(config, "solve") if r.index == 1] == ["done", "invalid", "done"]


def test_a_pyramid_above_a_block_that_was_written_again_is_made_again(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 64, 600)), tiling={"core": {"y": 64, "x": 100}})
    good = hashes(complete(config))
    image_files(tmp_path / "out.zarr")[0].unlink()
    before = len(records(config, "pyramid"))
    assert hashes(complete(config)) == good
    later = records(config, "pyramid")[before:]
    assert [r.status for r in later] == ["invalid"] * 2 + ["done"] * 2


class Recorder(SerialExecutor):
    """Runs as the serial executor does, and remembers the batches."""

    batches: list[Sequence[Job]]

    def submit(self, jobs: Sequence[Job]) -> None:
        self.batches.append(tuple(jobs))
        super().submit(jobs)


def test_a_batch_is_of_one_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Recorder.batches = []
    monkeypatch.setattr(session, "open_executor", lambda _, spec, say, client: Recorder(spec))
    config = make_run(tmp_path, ramp((6, 64, 300)), tiling={"core": {"y": 64, "x": 50}, "blend": 8})
    complete(config)
    assert all(len({job.kind for job in batch}) == 1 for batch in Recorder.batches)
    assert max(len(batch) for batch in Recorder.batches) > 1


@pytest.mark.parametrize("blend", [0, 8])
def test_a_pilot_works_with_and_without_scratch(tmp_path: Path, blend: int, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path, beads((1, 64, 128)), solver="wiener", tiling={"blend": blend})
    assert main(["plan", str(config), "--pilot", "2"]) == 0
    assert "from 2 tiles: pilot" in capsys.readouterr().out
    assert not (tmp_path / "out.zarr").exists()


def test_values_beyond_float32_fail_their_tile(tmp_path: Path) -> None:
    image = np.ones((1, 64, 64))
    image[0, 5, 5] = 1e300
    config = make_run(tmp_path, image)
    outcome = go(config)
    assert (outcome.tiles_done, outcome.tiles_failed) == (3, 1)
    ((key, error),) = read_status(config_of(config)).failures
    assert key == "solve/0"
    assert "exceed the range of float32" in error
