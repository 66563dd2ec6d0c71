"""A lost mount is neither written to nor read as empty, and existing names are not errors."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from builders import complete, config_of, contents, make_run, ramp

from ssi_pipeline.errors import MissingStateError, OutputError
from ssi_pipeline.executors.fit import FitWorkers
from ssi_pipeline.executors.hung import HungWorkers
from ssi_pipeline.executors.watch import SeenWorker, TimeLimit
from ssi_pipeline.run.failure_budget import FailureBudget
from ssi_pipeline.storage import mount
from ssi_pipeline.storage.atomic import create_whole
from ssi_pipeline.storage.mount import Mount, make_folder, make_folders
from ssi_pipeline.storage.mounted_store import mounted
from ssi_pipeline.storage.outputs.output_lock import output_lease
from ssi_pipeline.storage.small_files import read_json, read_small
from ssi_pipeline.storage.state.document import RunDocument, StatePaths
from ssi_pipeline.storage.state.lease_file import Holder, create
from ssi_pipeline.storage.state.lock import run_lock
from ssi_pipeline.storage.state.process import this_process
from ssi_pipeline.storage.state.records import Job, TaskRecord
from ssi_pipeline.tasks import RunSpec
from ssi_pipeline.tasks.execute import execute as execute_jobs
from ssi_pipeline.tasks.opening import load_context


def array(folder: Path) -> zarr.Array[Any]:
    zarr.create_array(folder, shape=(4, 4), chunks=(2, 2), dtype="uint8", fill_value=0)
    return zarr.open_array(mounted(folder, writable=True), mode="r+")


def unmounted(folder: Path) -> None:
    """As a lost mount looks: the folder is not there, the one above is."""
    folder.rename(folder.with_name("mounted elsewhere"))


def other_device(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """As it looks where somebody has left the same folders beneath the mount point."""
    real = mount._device
    monkeypatch.setattr(mount, "_device", lambda path: real(path) + (path == place))


class TestStore:
    def test_it_writes_what_zarr_reads(self, tmp_path: Path) -> None:
        array(tmp_path / "a")[...] = 7
        assert np.all(zarr.open_array(tmp_path / "a", mode="r")[...] == 7)  # type: ignore[operator]
        assert not list(tmp_path.rglob("*.partial"))

    def test_nothing_is_written_where_the_folder_is_gone(self, tmp_path: Path) -> None:
        opened = array(tmp_path / "a")
        unmounted(tmp_path / "a")
        with pytest.raises(MissingStateError, match="lost its mount"):
            opened[0, 0] = 1
        assert not (tmp_path / "a").exists()

    def test_what_is_missing_there_is_not_the_fill_value(self, tmp_path: Path) -> None:
        opened = array(tmp_path / "a")
        unmounted(tmp_path / "a")
        with pytest.raises(MissingStateError, match="lost its mount"):
            opened[...]

    def test_another_file_system_at_the_same_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        opened = array(tmp_path / "a")
        other_device(monkeypatch, tmp_path / "a")
        before = contents(tmp_path)
        for use in (lambda: opened[...], lambda: opened.__setitem__((0, 0), 1)):
            with pytest.raises(MissingStateError, match="another file system"):
                use()
        assert contents(tmp_path) == before

    def test_the_mount_goes_between_the_look_and_the_write(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = array(tmp_path / "a")
        unmounted(tmp_path / "a")
        monkeypatch.setattr(Mount, "check", lambda self: None)
        with pytest.raises(FileNotFoundError):
            opened[0, 0] = 1
        assert not (tmp_path / "a").exists()

    def test_a_file_that_was_replaced_is_read_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        opened = array(tmp_path / "a")
        opened[...] = 3
        stale(monkeypatch, Path.read_bytes, "read_bytes", times=2)
        assert np.all(opened[...] == 3)


def stale(monkeypatch: pytest.MonkeyPatch, real: Callable[[Path], bytes], name: str, times: int) -> None:
    left = [times]

    def read(path: Path) -> bytes:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return real(path)

    monkeypatch.setattr(Path, name, read)


def test_a_small_file_that_was_replaced_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"new")
    stale(monkeypatch, Path.read_bytes, "read_bytes", times=2)
    assert read_small(tmp_path / "x") == b"new"
    stale(monkeypatch, Path.read_bytes, "read_bytes", times=99)
    with pytest.raises(OSError, match="Stale file handle"):
        read_small(tmp_path / "x")


class TestFolders:
    def test_only_those_below_the_root_are_made(self, tmp_path: Path) -> None:
        (tmp_path / "root").mkdir()
        make_folders(tmp_path / "root" / "a" / "b", tmp_path / "root")
        make_folders(tmp_path / "root" / "a" / "b", tmp_path / "root")
        assert (tmp_path / "root" / "a" / "b").is_dir()
        with pytest.raises(FileNotFoundError):
            make_folders(tmp_path / "gone" / "a" / "b", tmp_path / "gone")
        assert not (tmp_path / "gone").exists()

    def test_another_was_faster_on_sftp(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a").mkdir()
        monkeypatch.setattr(Path, "mkdir", refused)
        assert make_folder(tmp_path / "a") is False
        with pytest.raises(PermissionError):
            make_folder(tmp_path / "b")


def refused(*arguments: object, **options: object) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


class TestTakenNames:
    """SFTP servers say "not permitted" for a name that another has made this moment."""

    def test_a_lease(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first, second = (Holder(f"{n}" * 32, "a run", this_process()) for n in (1, 2))
        assert create(tmp_path / "lock", first)
        before = (tmp_path / "lock").read_bytes()
        monkeypatch.setattr(os, "link", refused)
        assert create(tmp_path / "lock", second) is False
        assert create(tmp_path / "lock", first) is True  # the answer to what it did was lost
        assert contents(tmp_path) == {"lock": before}

    def test_a_marker_is_not_removed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "marker").write_bytes(b"first")
        real = Path.open

        def opened(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
            return refused() if "x" in mode else real(path, mode, *rest, **options)

        monkeypatch.setattr(Path, "open", opened)
        monkeypatch.setattr(os, "link", refused)
        assert create_whole(tmp_path / "marker", b"second") is False
        assert contents(tmp_path) == {"marker": b"first"}
        with pytest.raises(PermissionError):
            create_whole(tmp_path / "other", b"second")


class TestWorker:
    """A worker whose mounts are lost in mid-task, whatever the task then says."""

    @pytest.fixture
    def spec(self, tmp_path: Path) -> tuple[RunSpec, Path]:
        kept = {"keep_scratch": True}
        config = make_run(tmp_path / "run", ramp((1, 64, 64)), solver="wiener", tiling={"blend": 4}, output=kept)
        complete(config)
        root = config_of(config).state_path
        return RunSpec(str(root), RunDocument.load(StatePaths(root).document).fingerprint), tmp_path / "run"

    @pytest.mark.parametrize("lost", ["in.zarr", "out.zarr", "out.zarr.run"])
    def test_its_machine_is_to_blame(self, spec: tuple[RunSpec, Path], lost: str, monkeypatch: Any) -> None:
        run, folder = spec
        context = load_context(run)
        assert context.sink.level(0) is not None
        assert context.source is not None
        real: Any = context.source.read

        def read(*arguments: Any) -> Any:
            """Lose the mount while the task is on its way."""
            values = real(*arguments)
            unmounted(folder / lost)
            return values

        monkeypatch.setattr(type(context.source), "read", staticmethod(read))
        (record,) = execute_jobs(run, [Job("solve", 0)])
        assert record.status == "failed"
        assert record.fault == "machine"
        assert f"{lost} is not accessible" in str(record.error)
        assert not (folder / lost).exists()
        monkeypatch.undo()
        (folder / "mounted elsewhere").rename(folder / lost)  # it comes back
        (record,) = execute_jobs(run, [Job("solve", 0)])
        assert record.status == "done", record.error


def test_a_host_that_fails_is_named_at_once_and_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    account = FailureBudget(2, 100, lambda host: False, said.append)
    for _ in range(5):
        account.note_infrastructure_failure("solve/3: its mount is gone", "n2")
    assert said == ["n2 failed, its task will be retried: solve/3: its mount is gone"]


def test_workers_of_a_host_rest_and_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("ssi_pipeline.executors.fit.time.monotonic", lambda: now[0])
    workers = [SeenWorker(f"tcp://{n}", n, 1, ()) for n in ("a", "b", "c")]
    fit = FitWorkers()
    assert fit.suspend("n1", workers) is False  # not known yet
    for place, worker in (("n1:1", "a"), ("n1:2", "b"), ("n2:1", "c")):
        fit.note(place, [f"tcp://{worker}"])
    assert fit.suspend("n1", workers) is True
    assert [w.name for w in fit.of(workers)] == ["c"]
    assert fit.restriction(workers) == {"workers": ["tcp://c"], "allow_other_workers": True}
    assert fit.suspend("n2", workers) is False  # nobody would be left
    now[0] += 61
    assert len(fit.of(workers)) == 3
    fit.suspend("n1", workers)
    now[0] += 61
    assert len(fit.of(workers)) == 1


def test_an_output_without_its_state_names_who_works_on_it(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 32, 32)), output={"state": "first"})
    complete(config)
    other = make_run(tmp_path, None, output={"state": "second"})
    with pytest.raises(OutputError, match=r"is an output of ssi, but its state folder .* is missing"):
        complete(other)
    with (
        run_lock(tmp_path / "first" / "lock", "a run") as lock,
        output_lease(tmp_path / "out.zarr", tmp_path / "first", lock, "a run"),
        pytest.raises(OutputError, match=rf"used by another run \(process {os.getpid()} on .*: a run"),
    ):
        complete(other)


def test_a_worker_that_gives_no_result_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("ssi_pipeline.executors.watch.time.monotonic", lambda: now[0])
    limit = TimeLimit("auto")
    hung = HungWorkers(None, None, limit)  # type: ignore[arg-type]
    workers = [SeenWorker("tcp://10.0.0.3:9", "tcp://10.0.0.3:9", 1, ("key",))]
    jobs: Any = {"key": Job("solve", 3)}
    for _ in range(3):
        limit.note(TaskRecord("solve", 0, "done", seconds=2.0))
    said = []
    for seconds in (0.0, 59.0, 61.0, 70.0):
        now[0] = seconds
        said += hung.slow(workers, jobs)
    assert said == ["no result of solve/3 from tcp://10.0.0.3:9 for 61 s: its host, or a mount there, may hang"]


def test_a_document_that_a_stale_size_cuts_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, whole = tmp_path / "run.json", b'{"a": "longer than before"}'
    path.write_bytes(whole)
    cut = [True]
    monkeypatch.setattr(Path, "read_bytes", lambda _: whole[:9] if cut[0] else whole)
    monkeypatch.setattr(os, "chmod", lambda *_: cut.clear() or cut.append(False))
    assert read_json(path) == {"a": "longer than before"}
    monkeypatch.undo()
    path.write_bytes(whole[:9])
    with pytest.raises(ValueError, match="Unterminated"):
        read_json(path)
