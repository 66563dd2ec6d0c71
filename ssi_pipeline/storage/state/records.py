"""Ledger record of one finished task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import msgspec
import numpy as np

Kind = Literal["calibrate", "train", "solve", "stitch", "pyramid"]
Status = Literal["done", "failed", "invalid"]

Fault = Literal["machine", "worker", "run", "scratch"]

KINDS: tuple[Kind, ...] = ("calibrate", "train", "solve", "stitch", "pyramid")


@dataclass(frozen=True, slots=True)
class Failure:
    """Cause of a failure outside of the task itself.

    ``fault``: ``machine``, a retry elsewhere may succeed; ``worker``, this worker lacks the run's device or precision;
    ``run``, no task can succeed before the cause is fixed; ``scratch``, a block could not read back ``tile``.
    ``process``: the process that ran the task can compute no more, and has to be replaced.
    """

    fault: Fault
    tile: int | None = None
    process: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """Task for a worker, without arrays or handles. ``index``: of the tile, block or channel.

    ``retrain``: retrain a flagged tile with other settings and keep the better result. ``frames``: number of time
    points of growing data at which ``index`` counts, of a block whose index depends on it.
    """

    kind: Kind
    index: int
    attempt: int = 1
    retrain: bool = False
    frames: int | None = None

    @property
    def key(self) -> str:
        """Name of the task, for instance ``solve/17``."""
        return f"{self.kind}/{self.index}"


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """Result of a task.

    ``seconds``: wall time that the task took of its worker; of a batch, whose tasks overlap, from the end of the one
    before. ``peak_bytes``: peak resident memory of its process. ``device_peak_bytes``: peak memory of tensors on its
    GPU, 0 without one. ``finished``: seconds since 1970. ``quality``: metrics of a tile by name, or what a
    block needs for verification. ``device``: device of the computation. ``source``: digests of the input boxes that
    were read. ``versions``: index of the run's set of versions. ``failure``: external cause of a failure.
    Empty values of these three, and a ``device_peak_bytes`` of 0, are omitted from the line.
    An ``invalid`` record revokes an earlier ``done``, or counts a process that a pending task has lost.
    """

    kind: Kind
    index: int
    status: Status
    attempt: int = 1
    seconds: float = 0.0
    peak_bytes: int = 0
    host: str = ""
    finished: float = 0.0
    quality: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    device: str = ""
    source: str = ""
    versions: int = 0
    failure: Failure | None = None
    device_peak_bytes: int = 0

    @property
    def key(self) -> str:
        """Name of the task, for instance ``solve/17``."""
        return f"{self.kind}/{self.index}"

    @property
    def stored_bytes(self) -> int:
        """Size of a written block's file."""
        return int(self.quality.get("stored_bytes", 0))

    @property
    def etags(self) -> list[str]:
        """ETags of a written block's objects; none on a file system."""
        return list(self.quality.get("etags", ()))

    @property
    def fault(self) -> Fault | None:
        """Cause of a failure outside the task; None: the task itself, or no failure."""
        return None if self.failure is None else self.failure.fault

    @property
    def of_machine(self) -> bool:
        """Whether the task failed and may succeed on another machine or worker."""
        return self.fault in ("machine", "worker")

    @property
    def of_lost_process(self) -> bool:
        """Whether the process that ran the task can compute no more."""
        return self.failure is not None and self.failure.process

    @property
    def digest(self) -> str:
        """Digest of a written block's voxels, or empty."""
        return str(self.quality.get("digest") or "")

    @property
    def seams(self) -> Sequence[tuple[int, float, float]]:
        """Seams of a written block: tile, sum of squared differences from its neighbours, number of voxels."""
        found: Sequence[tuple[int, float, float]] = self.quality.get("seams", ())
        return found

    @property
    def method(self) -> str:
        """Solver of a tile's result."""
        return str(self.quality.get("method", "?"))

    @property
    def note(self) -> str:
        """Note on how a tile was solved, usually empty."""
        return str(self.quality.get("note") or "")

    @property
    def model(self) -> str | None:
        """Digest of a channel's network; None if its training failed."""
        return self.quality.get("model")

    def to_line(self) -> str:
        """Return the record as one line of JSON, without the line's end."""
        # not msgspec, which does not support numpy numbers and turns NaN into null
        line = {name: getattr(self, name) for name in _NAMES}
        line |= {name: value for name in _SOMETIMES if (value := getattr(self, name))}
        return json.dumps(line, separators=(",", ":"), default=_plain)

    @staticmethod
    def from_line(line: str | bytes) -> TaskRecord:
        """Parse a line of ``to_line`` of any version; raise ValueError for anything else."""
        try:
            return _RECORD.decode(line)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:  # NaN and Infinity are not JSON, but Python writes and reads them
            return msgspec.convert(json.loads(line), TaskRecord)


class HeadQuality(msgspec.Struct, frozen=True, gc=False):
    """Fields of a record's ``quality`` needed for progress."""

    method: str = "?"
    stored_bytes: int = 0
    etags: list[str] = []


class RecordHead(msgspec.Struct, frozen=True, gc=False):
    """Fields of a ``TaskRecord`` needed for state and progress; the parser skips the rest.

    It has every field except the contents of ``quality``, so that a line is valid for both or for none.
    """

    kind: Kind
    index: int
    status: Status
    attempt: int = 1
    seconds: float = 0.0
    peak_bytes: int = 0
    host: str = ""
    finished: float = 0.0
    quality: HeadQuality = HeadQuality()
    error: str | None = None
    device: str = ""
    source: str = ""
    versions: int = 0
    failure: Failure | None = None
    device_peak_bytes: int = 0

    @property
    def key(self) -> str:
        """Name of the task, for instance ``solve/17``."""
        return f"{self.kind}/{self.index}"

    @property
    def stored_bytes(self) -> int:
        """Size of a written block's file."""
        return self.quality.stored_bytes

    @property
    def etags(self) -> list[str]:
        """ETags of a written block's objects; none on a file system."""
        return self.quality.etags

    @property
    def method(self) -> str:
        """Solver of a tile's result."""
        return self.quality.method

    @staticmethod
    def from_line(line: str | bytes) -> RecordHead:
        """Parse a line of ``TaskRecord.to_line``; raises ValueError for anything else."""
        try:
            return _HEAD.decode(line)
        except msgspec.DecodeError:
            return head_of(TaskRecord.from_line(line))


def head_of(record: TaskRecord) -> RecordHead:
    """Return the head of a record, as read from its line."""
    return RecordHead(
        kind=record.kind,
        index=record.index,
        status=record.status,
        attempt=record.attempt,
        seconds=record.seconds,
        peak_bytes=record.peak_bytes,
        host=record.host,
        finished=record.finished,
        quality=HeadQuality(record.method, record.stored_bytes, record.etags),
        error=record.error,
        device=record.device,
        source=record.source,
        versions=record.versions,
        failure=record.failure,
        device_peak_bytes=record.device_peak_bytes,
    )


_SOMETIMES = ("source", "versions", "failure", "device_peak_bytes")
_NAMES = tuple(item.name for item in fields(TaskRecord) if item.name not in _SOMETIMES)
_RECORD = msgspec.json.Decoder(TaskRecord)
_HEAD = msgspec.json.Decoder(RecordHead)


def _plain(value: Any) -> Any:
    """Return a dataclass as a mapping, a numpy number as a Python one."""
    return value.item() if isinstance(value, np.generic) else asdict(value)
