"""What the client sees of the workers, and how long a task may take before its worker is taken for hung."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from ssi_pipeline.storage.state.records import TaskRecord

_FLOOR_S = 300.0
"""No automatic limit is shorter: a new worker imports torch from a slow network, a file system pauses for minutes."""

_TIMES_LONGEST = 5.0

_SLOW_FLOOR_S, _SLOW_TIMES = 60.0, 3.0
"""From when on it is said that a task takes long; most often its host, or a mount there, hangs."""

_ENOUGH = 3
"""Finished tasks of a kind from which the others are judged."""


@dataclass(frozen=True, slots=True)
class SeenWorker:
    """One worker as the scheduler has it; ``keys``: the tasks that it was given."""

    address: str
    name: str
    threads: int
    keys: tuple[Hashable, ...]


def observe(dask_scheduler: Any) -> list[SeenWorker]:
    """Return all workers; runs inside the scheduler."""
    return [
        SeenWorker(w.address, str(w.name), w.nthreads, tuple(task.key for task in w.processing))
        for w in dask_scheduler.workers.values()
    ]


class TimeLimit:
    """Longest time that a task of a kind may take, in seconds."""

    def __init__(self, setting: float | Literal["auto"] | None) -> None:
        self._setting = setting
        self._longest: dict[str, float] = {}
        self._count: Counter[str] = Counter()

    def note(self, record: TaskRecord) -> None:
        """Learn from a finished task."""
        self._longest[record.kind] = max(record.seconds, self._longest.get(record.kind, 0.0))
        self._count[record.kind] += 1

    def of(self, kind: str) -> float | None:
        """Return the limit; None while there is none."""
        if self._setting != "auto":
            return self._setting
        if self._count[kind] < _ENOUGH:
            return None
        return max(_FLOOR_S, _TIMES_LONGEST * self._longest[kind])

    def slow(self, kind: str) -> float | None:
        """Return from when on a task takes conspicuously long; None while too few are known."""
        if self._count[kind] < _ENOUGH:
            return None
        return max(_SLOW_FLOOR_S, _SLOW_TIMES * self._longest[kind])


class Clock:
    """Since when each task is with its worker, on this machine's monotonic clock."""

    def __init__(self) -> None:
        self._since: dict[Hashable, float] = {}

    def look(self, workers: Iterable[SeenWorker]) -> dict[Hashable, tuple[SeenWorker, float]]:
        """Return for each task its worker and the seconds since it was first seen there."""
        now = time.monotonic()
        found = {key: worker for worker in workers for key in worker.keys}
        self._since = {key: self._since.get(key, now) for key in found}
        return {key: (worker, now - self._since[key]) for key, worker in found.items()}
