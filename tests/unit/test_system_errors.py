"""System errors become a sentence with the file and the next step, and cleanup never hides the cause."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from _faults_storage import no_mounts

from ssi_pipeline.config.url import Url
from ssi_pipeline.errors import LockedError, OutputError, StoppedError
from ssi_pipeline.exit_status import ExitStatus
from ssi_pipeline.storage.atomic import replacing, sync, write_json
from ssi_pipeline.storage.object_errors import lost
from ssi_pipeline.storage.state.ledger import Ledger, read_records
from ssi_pipeline.storage.state.lock import run_lock
from ssi_pipeline.storage.state.records import TaskRecord
from ssi_pipeline.storage.system_errors import breaks_machine, described, refuses_writes, writing


def of(number: int, *names: str) -> OSError:
    return OSError(number, os.strerror(number), *names)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, ("the disk is full", "free some space")),
        (errno.EDQUOT, ("quota", "raised")),
        (errno.EFBIG, ("the limit on the file size", "ulimit -f")),
        (errno.EROFS, ("read-only", "remount it writable")),
        (errno.EACCES, ("permission", "write permission")),
        (errno.ENOTCONN, ("gone or does not respond", "mount")),
        (errno.ESTALE, ("gone or does not respond", "mount")),
    ],
)
def test_each_has_its_sentence_and_names_the_file(tmp_path: Path, number: int, words: tuple[str, str]) -> None:
    for problem in (of(number), of(number, str(tmp_path / "a.bin"))):
        with pytest.raises(OutputError) as caught, writing(tmp_path / "a.bin"):
            raise problem
        assert caught.value.errno == number
        for word in (*words, str(tmp_path / "a.bin"), os.strerror(number)):
            assert word in str(caught.value)
        assert refuses_writes(caught.value) != breaks_machine(caught.value)
    if number != errno.ENOSPC:
        assert "free some space" not in str(described(of(number)))


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    for problem in (of(errno.ENOENT, "x"), LockedError("someone works here"), ValueError("no")):
        with pytest.raises(type(problem)) as caught, writing(tmp_path):
            raise problem
        assert caught.value is problem


def test_a_file_that_cannot_be_written_stays_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    write_json(path, {"a": 1})

    def fill() -> None:
        with replacing(path) as temporary:
            temporary.symlink_to("/dev/full")
            temporary.write_bytes(b"x")

    with pytest.raises(OutputError, match="the disk is full"):
        fill()
    assert path.read_text() == '{\n "a": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["small.json"]


def test_folders_are_synced_and_missing_ones_are_an_error(tmp_path: Path) -> None:
    sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "nothing")


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """A small file system of its own."""
    reason = no_mounts()
    if reason:
        pytest.skip(reason)
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "ssi-test", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def turn(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def test_a_lock_that_cannot_be_released_replaces_no_reason(tmp_path: Path) -> None:
    lines: list[str] = []

    def stop(state: Path) -> None:
        with run_lock(state / "lock", say=lines.append):
            turn(state, "ro")
            raise StoppedError("the reason")

    with mounted(tmp_path / "state") as state:
        with pytest.raises(StoppedError, match="the reason"):
            stop(state)
        assert (state / "lock").exists()
        (line,) = lines
        assert "cannot be removed" in line
        assert "read-only" in line
        turn(state, "rw")
        with run_lock(state / "lock", say=lines.append):  # this process is there, but holds it no more
            pass


def test_a_lock_that_cannot_be_released_is_no_error_where_all_went_well(tmp_path: Path) -> None:
    lines: list[str] = []
    with mounted(tmp_path / "state") as state:
        with run_lock(state / "lock", say=lines.append):
            turn(state, "ro")
        assert len(lines) == 1


def test_a_ledger_on_a_full_disk_gives_the_first_reason(tmp_path: Path) -> None:
    """Closing it fails as well, without another message."""

    def fill(path: Path) -> None:
        with Ledger(path) as ledger:
            while True:
                ledger.append(TaskRecord("solve", 1, "failed", error="x" * 9999))

    with mounted(tmp_path / "state") as state:
        path = state / "ledger.jsonl"
        with pytest.raises(OutputError, match=r"the disk is full .*ledger\.jsonl"):
            fill(path)
        subprocess.run(["mount", "-o", "remount,size=2m", str(state)], check=True)
        with Ledger(path) as ledger:
            ledger.append(TaskRecord("solve", 2, "done"))
        assert [r.index for r in read_records(path)][-1] == 2


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (errno.ENOSPC, ExitStatus.STOPPED),
        (errno.EDQUOT, ExitStatus.STOPPED),
        (errno.ESTALE, ExitStatus.STOPPED),
        (errno.EROFS, ExitStatus.REFUSED),
        (errno.EACCES, ExitStatus.REFUSED),
    ],
)
def test_what_passes_by_itself_is_worth_another_try_of_the_same_command(number: int, status: ExitStatus) -> None:
    """Also before a run has started: a resume on a full disk is not a usage error."""
    told = described(OSError(number, os.strerror(number)), Path("run.json"))
    assert isinstance(told, OutputError)
    assert told.exit_status == status


def test_a_ledger_that_cannot_be_closed_is_an_error_where_nothing_else_is(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    os.close(ledger._stream.fileno())
    with pytest.raises(OSError), ledger:
        pass


def test_an_image_that_is_gone_is_not_waited_for() -> None:
    """The store has answered that it is gone, so that the run stops; one that does not answer is another machine's."""
    problem = lost(Url("s3://bucket", ("out.zarr",)))
    assert refuses_writes(problem)
    assert not breaks_machine(problem)
