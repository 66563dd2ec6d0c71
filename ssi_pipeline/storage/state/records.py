"""One finished task, as one line of the ledger."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import msgspec

Kind = Literal["calibrate", "train", "solve", "stitch", "pyramid"]
Status = Literal["done", "failed", "invalid"]

Fault = Literal["machine", "worker", "run", "scratch"]

KINDS: tuple[Kind, ...] = ("calibrate", "train", "solve", "stitch", "pyramid")


@dataclass(frozen=True, slots=True)
class Failure:
    """What a failed task was not to blame for.

    ``fault``: ``machine``, a retry elsewhere may succeed; ``worker``, it can never compute as the run does, others may;
    ``run``, no task can succeed before the cause is removed; ``scratch``, a block could not read back ``tile``.
    """

    fault: Fault
    tile: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is asked to do: no arrays, no handles. ``index`` counts tiles, blocks or channels.

    ``retrain``: a tile that stands out is trained a second time, otherwise, and the better solution kept.
    """

    kind: Kind
    index: int
    attempt: int = 1
    retrain: bool = False

    @property
    def key(self) -> str:
        """Name of the task, for instance ``solve/17``."""
        return f"{self.kind}/{self.index}"


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What came of a job.

    ``seconds``: wall time of the task. ``peak_bytes``: peak resident memory of its process, or peak
    device memory. ``finished``: seconds since 1970. ``quality``: metrics of a tile by name, or what a
    block needs to be verified. ``device``: what computed it. ``source``: digest of the pixels of the input that it
    was made from, of each box that was read. ``versions``: which of the run's sets of versions made it. ``failure``:
    of a failed task, whose fault that was if not its own. These three are left out of the line where they say nothing.
    An ``invalid`` record takes back an earlier ``done``.
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

    @property
    def key(self) -> str:
        """Name of the task, for instance ``solve/17``."""
        return f"{self.kind}/{self.index}"

    @property
    def stored_bytes(self) -> int:
        """Size of a written block's file."""
        return int(self.quality.get("stored_bytes", 0))

    @property
    def fault(self) -> Fault | None:
        """Whose fault a failure is; None: that of the task, or nothing failed."""
        return None if self.failure is None else self.failure.fault

    @property
    def of_machine(self) -> bool:
        """Whether it failed, and may succeed on another machine or worker."""
        return self.fault in ("machine", "worker")

    @property
    def digest(self) -> str:
        """Digest of a written block's voxels; empty where none is recorded."""
        return str(self.quality.get("digest") or "")

    @property
    def seams(self) -> Sequence[tuple[int, float, float]]:
        """Of a written block: tile, sum of squared differences from its neighbours, number of voxels."""
        found: Sequence[tuple[int, float, float]] = self.quality.get("seams", ())
        return found

    @property
    def method(self) -> str:
        """What solved a tile."""
        return str(self.quality.get("method", "?"))

    @property
    def note(self) -> str:
        """Remark on how a tile was solved, mostly empty."""
        return str(self.quality.get("note") or "")

    @property
    def model(self) -> str | None:
        """Digest of a channel's network; None where its training failed."""
        return self.quality.get("model")

    def to_line(self) -> str:
        """Return the record as one line of JSON, without the line's end."""
        # not by msgspec, which knows no numpy numbers and makes null of a loss that is NaN
        line = {name: getattr(self, name) for name in _NAMES}
        line |= {name: value for name in _SOMETIMES if (value := getattr(self, name))}
        return json.dumps(line, separators=(",", ":"), default=asdict)

    @staticmethod
    def from_line(line: str | bytes) -> TaskRecord:
        """Parse a line written by ``to_line``, of this version or another; raises ValueError for anything else."""
        try:
            return _RECORD.decode(line)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:  # NaN and Infinity are no JSON, but Python writes and reads them
            return msgspec.convert(json.loads(line), TaskRecord)


class HeadQuality(msgspec.Struct, frozen=True, gc=False):
    """The part of a record's ``quality`` that progress is made of."""

    method: str = "?"
    stored_bytes: int = 0


class RecordHead(msgspec.Struct, frozen=True, gc=False):
    """What state and progress need of a ``TaskRecord``; the parser passes over the rest without building it.

    It has every field but what is inside ``quality``, so that a line is a record for both or for none.
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

    @property
    def key(self) -> str:
        """Name of the task, for instance ``solve/17``."""
        return f"{self.kind}/{self.index}"

    @property
    def stored_bytes(self) -> int:
        """Size of a written block's file."""
        return self.quality.stored_bytes

    @property
    def method(self) -> str:
        """What solved a tile."""
        return self.quality.method

    @staticmethod
    def from_line(line: str | bytes) -> RecordHead:
        """Parse a line of ``TaskRecord.to_line``; raises ValueError for anything else."""
        try:
            return _HEAD.decode(line)
        except msgspec.DecodeError:
            return head_of(TaskRecord.from_line(line))


def head_of(record: TaskRecord) -> RecordHead:
    """Return what a reader of the record's line would see of it."""
    return RecordHead(
        kind=record.kind,
        index=record.index,
        status=record.status,
        attempt=record.attempt,
        seconds=record.seconds,
        peak_bytes=record.peak_bytes,
        host=record.host,
        finished=record.finished,
        quality=HeadQuality(record.method, record.stored_bytes),
        error=record.error,
        device=record.device,
        source=record.source,
        versions=record.versions,
        failure=record.failure,
    )


_SOMETIMES = ("source", "versions", "failure")
_NAMES = tuple(item.name for item in fields(TaskRecord) if item.name not in _SOMETIMES)
_RECORD = msgspec.json.Decoder(TaskRecord)
_HEAD = msgspec.json.Decoder(RecordHead)
