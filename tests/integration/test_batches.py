"""A batch of tiles whose reading and writing overlap with solving gives what tiles one by one give."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import SERIAL, beads, complete, config_of, hashes, make_run

from ssi_pipeline.executors import serial
from ssi_pipeline.run import scheduling
from ssi_pipeline.storage.outputs.scratch import Scratch
from ssi_pipeline.storage.state.document import RunDocument, StatePaths
from ssi_pipeline.storage.state.records import Job, TaskRecord
from ssi_pipeline.tasks import RunSpec
from ssi_pipeline.tasks.execute import execute
from ssi_pipeline.tasks.opening import load_context

TILES = 4


@pytest.fixture(scope="module", params=[0, 4], ids=["direct", "blended"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four tiles, which are then solved again, to the same bytes."""
    config = make_run(
        tmp_path_factory.mktemp("done"),
        beads((1, 64, 64)),
        solver="wiener",
        tiling={"core": 32, "blend": request.param},
        output={"keep_scratch": True, "pyramid": False},
        quality={"extended": False},
    )
    complete(config)
    return config


def spec_of(config: Path) -> RunSpec:
    root = config_of(config).state_path
    return RunSpec(str(root), RunDocument.load(StatePaths(root).document).fingerprint)


def solve(config: Path, *batches: list[int]) -> list[TaskRecord]:
    found = [execute(spec_of(config), [Job("solve", i) for i in batch]) for batch in batches]
    return [record for records in found for record in records]


def stored(config: Path) -> dict[str, str]:
    folder = load_context(spec_of(config)).scratch_path
    return hashes(config.parent / "out.zarr") | (hashes(folder) if folder.is_dir() else {})


def facts(records: list[TaskRecord]) -> list[Any]:
    return [(r.key, r.status, r.quality, r.source, r.error) for r in records]


def test_bytes_and_records_are_those_of_tiles_one_by_one(done: Path) -> None:
    first = stored(done)
    alone = solve(done, *[[i] for i in range(TILES)])
    together = solve(done, list(range(TILES)))
    assert facts(together) == facts(alone)
    assert [r.index for r in together if r.kind == "solve"] == list(range(TILES))
    assert stored(done) == first
    assert all(r.peak_bytes > 0 and r.seconds > 0 for r in together if r.kind == "solve")


def failing_once(real: Callable[..., Any], error: Exception, at: int) -> Callable[..., Any]:
    calls = iter(range(10**6))

    def call(*arguments: Any) -> Any:
        if next(calls) == at:
            raise error
        return real(*arguments)

    return call


def test_an_error_of_reading_ahead_is_of_its_own_tile(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = type(load_context(spec_of(done)).source)
    monkeypatch.setattr(source, "read", failing_once(source.read, ValueError("unreadable"), at=2))
    records = [r for r in solve(done, list(range(TILES))) if r.kind == "solve"]
    assert [r.status for r in records] == ["done", "done", "failed", "done"]
    assert "unreadable" in str(records[2].error)
    assert records[2].failure is None
    assert records[2].source == ""


def test_an_error_of_writing_behind_is_of_its_own_tile(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = load_context(spec_of(done))
    sink = Scratch if not context.plan.direct else type(context.sink)
    monkeypatch.setattr(sink, "write", failing_once(sink.write, ValueError("unwritable"), at=1))
    records = [r for r in solve(done, list(range(TILES))) if r.kind == "solve"]
    assert [r.status for r in records] == ["done", "failed", "done", "done"]
    assert "unwritable" in str(records[1].error)


def test_after_a_failure_of_the_machine_the_rest_has_no_record(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = type(load_context(spec_of(done)).source)
    stale = OSError(errno.ESTALE, "Stale file handle")
    monkeypatch.setattr(source, "read", failing_once(source.read, stale, at=1))
    records = [r for r in solve(done, list(range(TILES))) if r.kind == "solve"]
    assert [(r.index, r.fault) for r in records] == [(0, None), (1, "machine")]


def batches_of(folder: Path, monkeypatch: pytest.MonkeyPatch, **executor: Any) -> list[int]:
    """Run 24 small tiles in this process; return the numbers of tiles in its batches."""
    sizes: list[int] = []

    def counted(spec: RunSpec, jobs: tuple[Job, ...]) -> list[TaskRecord]:
        if jobs[0].kind == "solve":
            sizes.append(len(jobs))
        return execute(spec, jobs)

    monkeypatch.setattr(serial, "execute", counted)
    quick = {"quality": {"extended": False}, "output": {"pyramid": False}}
    complete(make_run(folder, beads((1, 64, 96)), tiling={"core": 16}, executor={**SERIAL, **executor}, **quick))
    return sizes


def test_batches_become_shorter_as_few_tiles_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = batches_of(tmp_path, monkeypatch)
    assert sizes[0] == 1  # how long a tile takes is not known
    assert max(sizes) > 2
    assert sizes[-1] == 1
    assert sum(sizes) == 24
    assert all(size <= max(1, (24 - sum(sizes[:i])) // 4) for i, size in enumerate(sizes))


def test_a_batch_takes_a_part_of_the_time_limit_of_a_tile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of microseconds leaves what tasks have that are no tiles: half a second."""
    lengths: list[float] = []
    for name, limit in (("short", 0.001), ("long", 1e6)):
        monkeypatch.setattr(scheduling, "_SOLVE_BATCH_SECONDS", 1e9)
        monkeypatch.setattr(scheduling, "_BATCH_SECONDS", 1e-9)
        lengths.append(max(batches_of(tmp_path / name, monkeypatch, tile_limit_s=limit)))
    assert lengths[0] == 1
    assert lengths[1] > 1
