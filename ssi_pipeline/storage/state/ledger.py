"""Ledger: append-only JSON lines with one writer, the record of all finished tasks.

Every record is flushed immediately and synced to disk about once a second: a killed client loses nothing, a lost
machine at most the last second, whose tasks are recomputed.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import xor
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.storage.atomic import copy_file, sync
from ssi_pipeline.storage.state.lines import cut_torn_line
from ssi_pipeline.storage.state.records import Kind, RecordHead, TaskRecord
from ssi_pipeline.storage.state.tail import LedgerTail, UnreadableLines
from ssi_pipeline.storage.system_errors import writing

TODO, DONE, FAILED = 0, 1, 2
_CODES = {"done": DONE, "failed": FAILED, "invalid": TODO}
_SYNC_SECONDS = 1.0
WRITTEN: tuple[Kind, ...] = ("stitch", "pyramid")
"""Kinds of task that write the image."""


class Ledger:
    """Append-only writer of records; open only under the run lock. ``done``: finished tasks by kind.

    ``guard`` is called before each write and raises if the lock was lost.
    ``seconds``: total time of all tasks recorded since opening, by device.

    A truncated last line, left by a crash, is removed on opening: its task was not recorded and is recomputed.
    """

    def __init__(self, path: Path, guard: Callable[[], None] = lambda: None) -> None:
        guard()
        self._path, self._guard = path, guard
        with writing(path):
            fresh = not path.exists()
            cut_torn_line(path)
            self._stream = path.open("ab")
            if fresh:
                sync(path.parent)
        self._synced = time.monotonic()
        self.done: Counter[Kind] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def __enter__(self) -> Ledger:
        """Return self."""
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        """Sync and close; written records are kept, also if the lock is lost.

        A file system error is suppressed if another exception is already propagating.
        """
        try:
            with writing(self._path):
                try:
                    os.fsync(self._stream.fileno())
                finally:
                    self._stream.close()
        except OSError:
            if kind is None:
                raise

    def append(self, record: TaskRecord) -> None:
        """Write one record and flush it to the operating system."""
        self._guard()
        with writing(self._path):
            self._stream.write(record.to_line().encode() + b"\n")
            self._stream.flush()
        self.done[record.kind] += record.status == "done"
        self.seconds[record.device] += record.seconds

    def append_gap(self) -> None:
        """Write an invalid line in place of an unreadable one of the source."""
        self._guard()
        with writing(self._path):
            self._stream.write(b'{"unreadable":true}\n')
            self._stream.flush()

    def sync_if_due(self) -> bool:
        """Sync to disk if the last sync is a second ago; return whether it did."""
        due = time.monotonic() - self._synced >= _SYNC_SECONDS
        if due:
            self.sync()
        return due

    def sync(self) -> None:
        """Sync appended records to disk."""
        self._guard()
        with writing(self._path):
            os.fsync(self._stream.fileno())
        self._synced = time.monotonic()


def read_records(path: Path) -> Iterator[TaskRecord]:
    """Yield all records in order, without a truncated last line and unreadable lines."""
    return LedgerTail(path).read(TaskRecord.from_line)


def read_heads(path: Path) -> Iterator[RecordHead]:
    """Yield the same records as ``read_records``, reduced to the fields of state and progress: several times faster."""
    return LedgerTail(path).heads()


def mark_of(etag: str, layer: int) -> int:
    """Return a number of 64 bits that stands for the ETag of a block's object in one of its images."""
    return int.from_bytes(hashlib.blake2b(f"{layer} {etag}".encode(), digest_size=8).digest())


def _mark_of_all(etags: Sequence[str]) -> int:
    return reduce(xor, (mark_of(etag, layer) for layer, etag in enumerate(etags)), 0)


@dataclass(frozen=True, slots=True)
class LedgerState:
    """State of all tasks in arrays of a few bytes per task, independent of the number of records.

    ``status``: TODO, DONE or FAILED by kind and index; the last record of a task counts.
    ``stored_bytes``: size of a written block's file, by kind (``stitch``, ``pyramid``) and index; ``marks``: the
    exclusive or of ``mark_of`` its ETags, 0 on a file system.
    ``unreadable``: ledgers with unreadable lines.
    ``lost_processes``: processes that a pending task has left unable to compute, by the task's key.
    """

    status: dict[Kind, NDArray[np.uint8]]
    stored_bytes: dict[Kind, NDArray[np.int64]]
    unreadable: list[UnreadableLines] = field(default_factory=list)
    lost_processes: Counter[str] = field(default_factory=Counter)
    marks: dict[Kind, NDArray[np.uint64]] = field(default_factory=dict)

    @staticmethod
    def empty(sizes: dict[Kind, int]) -> LedgerState:
        """Return the state of a plan with ``sizes`` tasks of each kind, all pending."""
        return LedgerState(
            status={kind: np.zeros(size, np.uint8) for kind, size in sizes.items()},
            stored_bytes={kind: np.zeros(sizes[kind], np.int64) for kind in WRITTEN},
            marks={kind: np.zeros(sizes[kind], np.uint64) for kind in WRITTEN},
        )

    def note(self, record: TaskRecord | RecordHead) -> None:
        """Apply one record; ignore tasks outside the plan."""
        status = self.status[record.kind]
        if not 0 <= record.index < len(status):
            return
        status[record.index] = _CODES[record.status]
        if record.kind in self.stored_bytes:
            self.stored_bytes[record.kind][record.index] = record.stored_bytes
            if record.etags or self.marks[record.kind][record.index]:
                self.marks[record.kind][record.index] = _mark_of_all(record.etags)
        if record.status == "invalid" and record.failure is not None and record.failure.process:
            self.lost_processes[record.key] += 1
        elif self.lost_processes:
            self.lost_processes.pop(record.key, None)

    def count(self, kind: Kind, code: int, within: slice = slice(None)) -> int:
        """Return the number of tasks of one kind with one status, of all or of those ``within`` a range."""
        return int(np.count_nonzero(self.status[kind][within] == code))

    @property
    def all_written(self) -> bool:
        """Whether every block of every level is written."""
        return all(bool((self.status[kind] == DONE).all()) for kind in WRITTEN)

    @property
    def nothing_to_do(self) -> bool:
        """Whether every block is written and every tile has a record, which damage may have removed."""
        return self.all_written and bool((self.status["solve"] != TODO).all())


def read_state(path: Path, sizes: dict[Kind, int]) -> LedgerState:
    """Replay the ledger for a plan with ``sizes`` tasks of each kind."""
    return read_states([path], sizes)


def read_states(paths: Sequence[Path], sizes: dict[Kind, int]) -> LedgerState:
    """Replay several ledgers of one run, one after the other."""
    state = LedgerState.empty(sizes)
    for path in paths:
        tail = LedgerTail(path)
        for head in tail.heads():
            state.note(head)
        tail.note_zeros_at_end()
        if tail.unreadable.count:
            state.unreadable.append(tail.unreadable)
    return state


def records_of(path: Path, *kinds: Kind) -> Iterator[TaskRecord]:
    """Yield the records of some kinds in order; of others only the head is parsed."""

    def parse(line: bytes) -> TaskRecord | None:
        """Return the record, or None for another kind."""
        return TaskRecord.from_line(line) if RecordHead.from_line(line).kind in kinds else None

    return (record for record in LedgerTail(path).read(parse) if record is not None)


def latest_records(path: Path, kind: Kind) -> dict[int, TaskRecord]:
    """Return the last record of every task of one kind, by index; for kinds of few tasks."""
    return {record.index: record for record in records_of(path, kind)}


def keep_damaged(path: Path) -> Path:
    """Back up a ledger with unreadable lines; return the copy's path."""
    copy = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    copy_file(path, copy)
    return copy
