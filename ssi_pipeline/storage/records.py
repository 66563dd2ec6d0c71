"""One finished task, as one line of the ledger."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["calibrate", "train", "solve", "stitch", "pyramid"]
Status = Literal["done", "failed", "invalid"]

STATUSES: tuple[Status, ...] = ("done", "failed", "invalid")
KINDS: tuple[Kind, ...] = ("calibrate", "train", "solve", "stitch", "pyramid")


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is asked to do: no arrays, no handles. ``index`` counts tiles, blocks or channels."""

    kind: Kind
    index: int
    attempt: int = 1

    @property
    def key(self) -> str:
        """Name of the task, for instance ``solve/17``."""
        return f"{self.kind}/{self.index}"


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What came of a job.

    ``seconds``: wall time of the task. ``peak_bytes``: peak resident memory of its process, or peak
    device memory. ``finished``: seconds since 1970. ``quality``: metrics of a tile by name, or what a
    block needs to be verified. An ``invalid`` record takes back an earlier ``done``.
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

    @property
    def key(self) -> str:
        """Name of the task, for instance ``solve/17``."""
        return f"{self.kind}/{self.index}"

    def to_line(self) -> str:
        """Return the record as one line of JSON, without the line's end."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def from_line(line: str | bytes) -> TaskRecord:
        """Parse a line written by ``to_line``; raises ValueError (or TypeError) for anything else."""
        record = TaskRecord(**json.loads(line))
        if record.kind not in KINDS or record.status not in STATUSES or not isinstance(record.index, int):
            raise ValueError(f"no such task: {record.kind} {record.index!r} {record.status}")
        return record
