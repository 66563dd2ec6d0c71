"""Tasks of a batch overlap, one read in advance and one being written, and nothing goes on after the batch."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import Self

import pytest

from ssi_pipeline.storage.state.records import TaskRecord
from ssi_pipeline.tasks.read_ahead import run_in_turn

_LONG_S = 60.0
"""Of waiting for what another thread does: where nothing overlaps, it is never done."""


class Overlapping:
    """A task that computes until the one after it is read and the one before it is written."""

    def __init__(self, index: int, last: int, seen: Seen, raised: BaseException | None = None) -> None:
        self.index, self.last, self.seen, self.raised = index, last, seen, raised

    def read(self) -> Self:
        return self._note("read")

    def compute(self) -> Self:
        if self.index < self.last:
            self.seen.wait("read", self.index + 1)
        if self.index > 0:
            self.seen.wait("write", self.index - 1)
        if self.raised is not None:
            raise self.raised
        return self._note("compute")

    def write(self, since: float) -> list[TaskRecord]:
        self._note("write")
        return [TaskRecord("solve", self.index, "done", seconds=time.perf_counter() - since)]

    def _note(self, step: str) -> Self:
        self.seen.note(step, self.index)
        return self


class Seen:
    """The steps taken, in order."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int]] = []
        self._events: dict[tuple[str, int], threading.Event] = defaultdict(threading.Event)

    def note(self, step: str, index: int) -> None:
        self.steps.append((step, index))
        self._events[step, index].set()

    def wait(self, step: str, index: int) -> None:
        assert self._events[step, index].wait(_LONG_S)

    def of(self, step: str) -> list[int]:
        return [index for name, index in self.steps if name == step]


def test_a_task_computes_while_the_next_is_read_and_the_last_is_written() -> None:
    seen, records = Seen(), list[TaskRecord]()

    def done(found: list[TaskRecord]) -> bool:
        assert ("write", found[0].index) in seen.steps
        records.extend(found)
        return True

    started = time.perf_counter()
    run_in_turn([Overlapping(i, 5, seen) for i in range(6)], _LONG_S, done)
    took = time.perf_counter() - started
    assert [record.index for record in records] == list(range(6))
    assert sum(record.seconds for record in records) <= took
    at = {step: place for place, step in enumerate(seen.steps)}
    for i in range(4):  # one ahead, and one behind
        assert at["read", i + 2] > at["compute", i]
        assert at["write", i + 1] > at["write", i]


def test_a_single_task_needs_no_thread() -> None:
    before, seen = threading.active_count(), Seen()
    threads: list[int] = []
    run_in_turn([Overlapping(0, 0, seen)], _LONG_S, lambda _: bool(threads.append(threading.active_count())))
    assert threads == [before]
    assert seen.steps == [("read", 0), ("compute", 0), ("write", 0)]


def test_what_was_read_when_the_time_is_over_is_still_solved() -> None:
    seen = Seen()
    run_in_turn([Overlapping(i, 0, seen) for i in range(3)], 0.0, lambda _: True)
    assert seen.steps == [("read", 0), ("compute", 0), ("write", 0)]


def test_no_task_is_written_after_one_that_ends_the_batch() -> None:
    seen, before = Seen(), threading.active_count()
    run_in_turn([Overlapping(i, 5, seen) for i in range(6)], _LONG_S, lambda _: False)
    assert seen.of("write") == [0]
    assert threading.active_count() == before


def test_an_interrupt_waits_for_what_is_being_read_and_written() -> None:
    seen, before = Seen(), threading.active_count()
    tasks = [Overlapping(0, 2, seen), Overlapping(1, 2, seen, KeyboardInterrupt()), Overlapping(2, 2, seen)]
    with pytest.raises(KeyboardInterrupt):
        run_in_turn(tasks, _LONG_S, lambda _: True)
    assert seen.of("write") == [0]
    assert threading.active_count() == before
