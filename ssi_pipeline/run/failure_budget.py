"""Failure budget of a run: limits for failures of tasks, counted apart from failures of machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType

from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.storage.state.records import TaskRecord

TILE_ATTEMPTS = 2
"""Attempts of a task that fails by itself: a second failure on working machines is taken as permanent."""

WORKER_LOSSES = 3
"""Worker losses that a task may cause: a task that kills its worker always does, while crashes by chance are rare.
A process that can use its GPU no more after a task is lost too."""

INFRASTRUCTURE_FAILURES = 100
"""Consecutive infrastructure failures, without a finished task in between, that stop a run."""

_MOST_OF_A_HOST = 3
"""Consecutive failures on one machine, while others work, after which it is excluded."""

_MOST_MACHINE_FAILURES = 5
"""Machine failures of one task, with others done in between; further ones count against the task (a bad sector)."""


class FailureBudget:
    """Counts lost workers and failures.

    ``per_tile``: worker losses that a task may cause. ``in_a_row``: consecutive infrastructure failures, without a
    finished task in between, that stop the run; the total is not limited, as long runs on preemptible nodes lose many
    workers. ``lost``: worker losses by tasks in earlier calls.
    """

    def __init__(
        self,
        per_tile: int,
        in_a_row: int,
        avoid: Callable[[str], bool],
        log: Callable[[str], None],
        lost: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.per_tile = per_tile
        self._in_a_row = in_a_row
        self._avoid = avoid
        self._log = log
        self._row = 0
        self._tiles: Counter[str] = Counter(lost)
        self._hosts: Counter[str] = Counter()
        self._working: set[str] = set()
        self._progress = 0
        self._machine_failures: dict[str, tuple[int, int]] = {}

    def done(self, record: TaskRecord) -> None:
        """Count a finished task: its machine works."""
        self._row = 0
        self._progress += 1
        host = record.host.split(":")[0]
        self._working.add(host)
        del self._hosts[host]

    def note_worker_loss(self, key: str) -> int:
        """Count a worker that died with this task; returns the number of such losses."""
        self._tiles[key] += 1
        return self._tiles[key]

    def last_try(self, key: str) -> bool:
        """Return whether the next attempt is the last one of the task."""
        return self._tiles[key] == self.per_tile

    def used_up(self, key: str) -> bool:
        """Return whether the task has no attempt left."""
        return self._tiles[key] > self.per_tile

    def is_machine_fault(self, key: str) -> bool:
        """Return whether a repeated failure of a task is still attributed to its machine.

        Counted only if other tasks were done since the last failure: while a file system is away, all tasks fail.
        """
        count, seen = self._machine_failures.get(key, (0, -1))
        self._machine_failures[key] = count + (seen != self._progress), self._progress
        return self._machine_failures[key][0] <= _MOST_MACHINE_FAILURES

    def note_infrastructure_failure(self, why: str, host: str | None = None) -> None:
        """Count the loss or failure of a machine.

        Raises
        ------
        ExecutorError
            Too many in a row, without a finished task in between.
        """
        self._row += 1
        if self._row > self._in_a_row:
            raise ExecutorError(
                f"{self._row} consecutive failures of workers or machines, with no task done in between; the last: "
                f"{why}; fix the cause and run again to resume (the limit is {self._in_a_row})"
            )
        if host is not None:
            self._count_host(host, why)

    def _count_host(self, host: str, why: str) -> None:
        self._hosts[host] += 1
        if self._hosts[host] == 1:
            self._log(f"{host} failed, its task will be retried: {why}")
        if self._hosts[host] >= _MOST_OF_A_HOST and self._working - {host} and self._avoid(host):
            del self._hosts[host]  # counted anew when it is used again
            self._log(f"{host} excluded for now after {_MOST_OF_A_HOST} consecutive failures: {why}")
