"""Observe the workers of a dask cluster, and set the time limit of tasks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from ssi_pipeline.storage.state.records import TaskRecord

_FLOOR_S = 300.0
"""Shortest automatic limit: a new worker imports torch from a slow network, or a file system stalls for minutes."""

_TIMES_LONGEST = 5.0

_SLOW_FLOOR_S, _SLOW_TIMES = 60.0, 3.0
"""Duration from which a task is logged as slow; most often its host, or a mount there, hangs."""

_ENOUGH = 3
"""Finished tasks of a kind needed for a limit."""


@dataclass(frozen=True, slots=True)
class SeenWorker:
    """One worker as known to the scheduler; ``keys``: its assigned tasks."""

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
    """Time limit of the tasks of each kind, in seconds."""

    def __init__(self, setting: float | Literal["auto"] | None) -> None:
        self._setting = setting
        self._longest: dict[str, float] = {}
        self._count: Counter[str] = Counter()

    def note(self, record: TaskRecord) -> None:
        """Take the duration of a finished task into account."""
        self._longest[record.kind] = max(record.seconds, self._longest.get(record.kind, 0.0))
        self._count[record.kind] += 1

    def of(self, kind: str) -> float | None:
        """Return the limit of a kind; None if there is none yet."""
        if self._setting != "auto":
            return self._setting
        if self._count[kind] < _ENOUGH:
            return None
        return max(_FLOOR_S, _TIMES_LONGEST * self._longest[kind])

    def slow(self, kind: str) -> float | None:
        """Return the duration from which a task is slow; None with too few finished tasks."""
        if self._count[kind] < _ENOUGH:
            return None
        return max(_SLOW_FLOOR_S, _SLOW_TIMES * self._longest[kind])


class Clock:
    """Start of each task on its worker, on this machine's monotonic clock."""

    def __init__(self) -> None:
        self._since: dict[Hashable, float] = {}

    def look(self, workers: Iterable[SeenWorker]) -> dict[Hashable, tuple[SeenWorker, float]]:
        """Return the worker of each task, and the seconds since it was first seen there."""
        now = time.monotonic()
        found = {key: worker for worker in workers for key in worker.keys}
        self._since = {key: self._since.get(key, now) for key in found}
        return {key: (worker, now - self._since[key]) for key, worker in found.items()}
