"""Tally of a run's ledger, in one pass and a few bytes per task: for status, summary and report."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssi_pipeline.results.failures import Failures
from ssi_pipeline.storage.state.ledger import LedgerState
from ssi_pipeline.storage.state.records import Kind, RecordHead, TaskRecord
from ssi_pipeline.storage.state.tail import LedgerTail

_BUCKET_SECONDS = 10
_RATE_SECONDS = 600.0
"""Window of the rate: ten minutes, as in the client's display."""

_FEWEST_TILES = 10
"""With fewer tiles in this window, the rate is taken over an hour."""


@dataclass(slots=True)
class WorkerTally:
    """Number of tiles solved by one worker process, and end of its last task (seconds since 1970)."""

    tiles: int = 0
    last: float = 0.0


class Tally:
    """Counts over the ledgers of a run; ``note`` takes their records in order.

    ``seconds``: wall time of all recorded tasks, by device.
    """

    def __init__(self, sizes: dict[Kind, int]) -> None:
        self.state = LedgerState.empty(sizes)
        self.failures = Failures(sizes)
        self.workers: dict[str, WorkerTally] = {}
        self.last_finished = 0.0
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._sizes = sizes
        self._seconds, self._solved = 0.0, 0
        self._methods: dict[str, int] = {}
        self._method_of = np.zeros(sizes["solve"], np.uint8)
        self._versions = np.full(sizes["solve"], -1, np.int32)
        self._finished: Counter[int] = Counter()

    def note(self, records: Iterable[RecordHead | TaskRecord]) -> None:
        """Take records into account; tasks that are not in the plan are ignored."""
        for head in records:
            if not 0 <= head.index < self._sizes[head.kind]:
                continue
            self.state.note(head)
            self.failures.note(head)
            self.seconds[head.device] += head.seconds
            if head.finished:
                self._note_worker(head)
            if head.kind == "solve":
                self._note_tile(head)

    def _note_worker(self, head: RecordHead | TaskRecord) -> None:
        self.last_finished = max(self.last_finished, head.finished)
        worker = self.workers.get(head.host)
        if worker is None:
            if not head.host:
                return  # a record of the client, for a lost worker
            worker = self.workers[head.host] = WorkerTally()
        worker.last = max(worker.last, head.finished)
        worker.tiles += head.kind == "solve" and head.status == "done"

    def _note_tile(self, head: RecordHead | TaskRecord) -> None:
        if head.status != "done":
            self._method_of[head.index] = 0
            return
        self._seconds += head.seconds
        self._solved += 1
        self._finished[int(head.finished) // _BUCKET_SECONDS] += 1
        self._versions[head.index] = head.versions
        method = head.method
        self._method_of[head.index] = self._methods.setdefault(method, len(self._methods) + 1)

    @property
    def mean_tile_seconds(self) -> float | None:
        """Mean wall time of a solved tile."""
        return self._seconds / self._solved if self._solved else None

    def methods(self) -> dict[str, int]:
        """Return the number of tiles by method of their last record."""
        counts = np.bincount(self._method_of, minlength=len(self._methods) + 1)
        return {name: int(counts[code]) for name, code in self._methods.items() if counts[code]}

    def tiles_by_versions(self, n_sets: int) -> list[int]:
        """Return the number of tiles last solved with each set of versions."""
        return [int(np.count_nonzero(self._versions == i)) for i in range(n_sets)]

    def rate(self, now: float) -> float | None:
        """Return the current rate in tiles per second, None if no tile was solved in the last hour."""
        span, solved = _RATE_SECONDS, self._since(now - _RATE_SECONDS)
        if solved < _FEWEST_TILES:
            span, solved = 3600.0, self._since(now - 3600.0)
        begun = min(self._finished, default=0) * _BUCKET_SECONDS
        return solved / max(1.0, min(span, now - begun)) if solved else None

    def _since(self, time: float) -> int:
        first = int(time) // _BUCKET_SECONDS
        recent = 0
        for bucket in reversed(self._finished):  # in the order of the ledger, nearly that of time
            if bucket < first - 60:
                break
            recent += self._finished[bucket] if bucket > first else 0
        return recent


def read_tally(paths: Sequence[Path], sizes: dict[Kind, int]) -> Tally:
    """Read the ledgers of one run in order, for a plan with ``sizes`` tasks of each kind."""
    tally = Tally(sizes)
    for path in paths:
        tail = LedgerTail(path)
        tally.note(tail.heads())
        tail.note_zeros_at_end()
        if tail.unreadable.count:
            tally.state.unreadable.append(tail.unreadable)
    return tally
