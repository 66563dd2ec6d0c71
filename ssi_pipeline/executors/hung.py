"""Workers that hang: which they are, and their restart."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from distributed import Client

from ssi_pipeline.executors.base import Workers
from ssi_pipeline.executors.watch import Clock, SeenWorker, TimeLimit
from ssi_pipeline.storage.state.records import Job, TaskRecord

_RESTART_TIMEOUT = 30

_BOTH_WAYS = 3.0
"""Times as long as usual that a tile takes that is trained twice, the second time with twice the steps."""


@dataclass(frozen=True, slots=True)
class HungTask:
    """A task that its worker keeps beyond the limit; ``why`` says for how long."""

    key: Hashable
    worker: SeenWorker
    why: str


class HungWorkers:
    """Takes workers that keep a task beyond ``limit`` for hung; ``fleet``: what they live in, where it is ours."""

    def __init__(self, client: Client, fleet: Workers | None, limit: TimeLimit) -> None:
        self._client = client
        self._fleet = fleet
        self._limit = limit
        self._clock = Clock()
        self._named: set[Hashable] = set()

    def note(self, record: TaskRecord) -> None:
        """Learn from a finished task how long others may take."""
        self._limit.note(record)

    def find(self, workers: Iterable[SeenWorker], jobs: Mapping[Hashable, Job]) -> list[HungTask]:
        """Return the tasks that take too long, of those that ``jobs`` has: others are waited for by nobody."""
        found = []
        for key, (worker, seconds) in self._clock.look(workers).items():
            limit = self._limit_of(jobs[key]) if key in jobs else None
            if limit is not None and seconds > limit:
                why = f"no result from {worker.name} after {seconds:.0f} s (limit {limit:.0f} s)"
                found.append(HungTask(key, worker, why))
        return found

    def slow(self, workers: Iterable[SeenWorker], jobs: Mapping[Hashable, Job]) -> list[str]:
        """Return a line for each task that takes conspicuously long, once, with the worker that has it."""
        said = []
        for key, (worker, seconds) in self._clock.look(workers).items():
            limit = self._limit.slow(jobs[key].kind) if key in jobs and key not in self._named else None
            if limit is not None and seconds > limit * (_BOTH_WAYS if jobs[key].both_ways else 1):
                self._named.add(key)
                place = worker.name if worker.name == worker.address else f"{worker.name} ({worker.address})"
                what = f"no result of {jobs[key].key} from {place} for {seconds:.0f} s"
                said.append(f"{what}: does its host, or a mount there, hang?")
        return said

    def _limit_of(self, job: Job) -> float | None:
        usual = self._limit.of(job.kind)
        return _BOTH_WAYS * usual if usual is not None and job.both_ways else usual

    def restart(self, worker: SeenWorker) -> None:
        """Restart a worker; where its node hangs as well, the whole job has to go, or it would be given more tasks."""
        with contextlib.suppress(ValueError, TimeoutError, OSError):  # one that nobody restarts keeps its place
            done = self._client.restart_workers([worker.address], timeout=_RESTART_TIMEOUT, raise_for_error=False)
            if "timed out" in done.values() and self._fleet is not None:
                self._fleet.give_up(worker.name)
