"""Read ahead and write behind: while one task of a batch computes, the next is read and the one before is written.

    reading    | 1 | 2 | 3 | 4 |
    computing      | 1 | 2 | 3 | 4 |
    writing            | 1 | 2 | 3 | 4 |

At most one task is read in advance and at most one is being written, so that a worker holds three at a time. Each step
of a task is taken by one thread, in the order of the batch; a record exists only after its task's data are stored. No
thread outlives the batch, whatever ends it: nothing is written for a run that has given up its lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, Self

from ssi_pipeline.storage.state.records import TaskRecord


class Task(Protocol):
    """A task in three steps; an error of one is kept for its own record, and ends the task."""

    def read(self) -> Self:
        """Read what the task needs."""

    def compute(self) -> Self:
        """Compute, without storage."""

    def write(self, since: float) -> list[TaskRecord]:
        """Store the result; return the task's records, with the time from ``since`` (``perf_counter``) on."""


Done = Callable[[list[TaskRecord]], bool]
"""Takes the records of a task; returns whether the batch goes on."""


class _Writer:
    """Ends tasks one after the other; the time of a task is what it took of the worker: from the end of the one before.

    So the times of a batch add up to its own, though its tasks overlap.
    """

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def end(self, task: Task) -> list[TaskRecord]:
        """Write a task and return its records."""
        try:
            return task.write(self._since)
        finally:
            self._since = time.perf_counter()


def run_in_turn(tasks: Sequence[Task], seconds: float, done: Done) -> None:
    """Run tasks with reading ahead and writing behind until ``seconds`` are over or ``done`` returns False.

    Whether to go on is decided before the next task is read. A task whose records ``done`` was not given is as if it
    had not been submitted, although its computed result may be thrown away.
    """
    writer, deadline = _Writer(), time.perf_counter() + seconds
    if len(tasks) == 1:  # nothing to overlap with
        done(writer.end(tasks[0].read().compute()))
        return
    left, writing = iter(tasks), None
    with ThreadPoolExecutor(1, "read ahead") as ahead, ThreadPoolExecutor(1, "write behind") as behind:
        reading: Future[Task] | None = ahead.submit(next(left).read)
        while reading is not None:
            task = reading.result()
            upcoming = next(left, None) if time.perf_counter() < deadline else None
            reading = None if upcoming is None else ahead.submit(upcoming.read)
            task.compute()
            if writing is not None and not done(writing.result()):
                return
            writing = behind.submit(writer.end, task)
        if writing is not None:
            done(writing.result())
