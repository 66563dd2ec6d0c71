"""How many failures a run bears, and whose fault they are: one account for tiles, another for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.storage.state.records import TaskRecord

TILE_ATTEMPTS = 2
"""Tries of a task whose failure is its own: what fails twice, with all else well, fails always."""

WORKER_LOSSES = 3
"""Workers that a task may take with it: preemption hits one task thrice by chance, a task that kills does it always."""

INFRASTRUCTURE_FAILURES = 100
"""In a row, with nothing done in between, that end a run: nodes that come and go lose far fewer so."""

_MOST_OF_A_HOST = 3
"""Failures in a row on one machine, with others at work, after which it gets no more tasks."""

_MOST_EXCUSES = 5
"""Failures of a task by its machine's fault, with others done in between; after that it is its own (a bad sector)."""


class FailureBudget:
    """Counts what is lost and failing.

    ``per_tile``: workers that a task may take with it. ``in_a_row``: failures of the infrastructure, with no task
    done in between, that end the run: weeks of work on preempted nodes lose many workers, and that is well.
    """

    def __init__(self, per_tile: int, in_a_row: int, avoid: Callable[[str], bool], say: Callable[[str], None]) -> None:
        self.per_tile = per_tile
        self._in_a_row = in_a_row
        self._avoid = avoid
        self._say = say
        self._row = 0
        self._tiles: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()
        self._working: set[str] = set()
        self._progress = 0
        self._excused: dict[str, tuple[int, int]] = {}

    def done(self, record: TaskRecord) -> None:
        """A task came back: things work, at least on that machine."""
        self._row = 0
        self._progress += 1
        host = record.host.split(":")[0]
        self._working.add(host)
        del self._hosts[host]

    def of_tile(self, key: str) -> int:
        """A worker died with this task; returns how often that has happened to it."""
        self._tiles[key] += 1
        return self._tiles[key]

    def last_try(self, key: str) -> bool:
        """Tell whether the next worker is the last that the task may have."""
        return self._tiles[key] == self.per_tile

    def used_up(self, key: str) -> bool:
        """Tell whether the task has had all of its workers."""
        return self._tiles[key] > self.per_tile

    def machine_is_to_blame(self, key: str) -> bool:
        """Tell whether a failure of its machine is still believed of a task, which fails so again and again.

        Counted only where others were done since the last time: while a file system is away, all tasks fail.
        """
        count, seen = self._excused.get(key, (0, -1))
        self._excused[key] = count + (seen != self._progress), self._progress
        return self._excused[key][0] <= _MOST_EXCUSES

    def of_infrastructure(self, why: str, host: str | None = None) -> None:
        """A machine left or failed.

        Raises
        ------
        ExecutorError
            Nothing else has happened for too long.
        """
        self._row += 1
        if self._row > self._in_a_row:
            raise ExecutorError(
                f"{self._row} failures of workers or machines in a row, and nothing done in between; the last: {why}; "
                f"fix the cause and rerun to resume (the limit is {self._in_a_row} in a row)"
            )
        if host is not None:
            self._count_host(host, why)

    def _count_host(self, host: str, why: str) -> None:
        self._hosts[host] += 1
        if self._hosts[host] == 1:
            self._say(f"{host} fails, its task is run again: {why}")
        if self._hosts[host] >= _MOST_OF_A_HOST and self._working - {host} and self._avoid(host):
            del self._hosts[host]  # it may come back, and fail again
            self._say(f"{host} gets no more work for now, it failed {_MOST_OF_A_HOST} times in a row: {why}")
