"""Detect workers that hang, and restart these and others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass

from distributed import Client

from ssi_pipeline.executors.base import Workers
from ssi_pipeline.executors.watch import Clock, SeenWorker, TimeLimit
from ssi_pipeline.storage.state.records import Job, TaskRecord

_RESTART_TIMEOUT = 30

_RETRAINING = 3.0
"""Duration of a retrained tile relative to others: a second training with twice the steps."""


@dataclass(frozen=True, slots=True)
class HungTask:
    """A task that exceeds its time limit; ``why``: message with its duration."""

    key: Hashable
    worker: SeenWorker
    why: str


class HungWorkers:
    """Finds workers with a task that exceeds ``limit``; ``fleet``: their processes or jobs, if started here."""

    def __init__(self, client: Client, fleet: Workers | None, limit: TimeLimit) -> None:
        self._client = client
        self._fleet = fleet
        self._limit = limit
        self._clock = Clock()
        self._named: set[Hashable] = set()

    def note(self, record: TaskRecord) -> None:
        """Update the limit with the duration of a finished task."""
        self._limit.note(record)

    def find(self, workers: Iterable[SeenWorker], jobs: Mapping[Hashable, Job]) -> list[HungTask]:
        """Return the tasks of ``jobs`` that exceed their limit."""
        found = []
        for key, (worker, seconds) in self._clock.look(workers).items():
            limit = self._with_its_turn(worker, key, jobs, self._limit_of)
            if limit is not None and seconds > limit:
                why = f"no result from {worker.name} after {seconds:.0f} s (limit {limit:.0f} s)"
                found.append(HungTask(key, worker, why))
        return found

    def slow(self, workers: Iterable[SeenWorker], jobs: Mapping[Hashable, Job]) -> list[str]:
        """Return a line for each slow task with its worker, once for each task."""
        lines = []
        for key, (worker, seconds) in self._clock.look(workers).items():
            limit = None if key in self._named else self._with_its_turn(worker, key, jobs, self._slow)
            if limit is not None and seconds > limit:
                self._named.add(key)
                place = worker.name if worker.name == worker.address else f"{worker.name} ({worker.address})"
                what = f"no result of {jobs[key].key} from {place} for {seconds:.0f} s"
                lines.append(f"{what}: its host, or a mount there, may hang")
        return lines

    def _limit_of(self, job: Job) -> float | None:
        return _longer(self._limit.of(job.kind), job)

    def _slow(self, job: Job) -> float | None:
        return _longer(self._limit.slow(job.kind), job)

    def _with_its_turn(
        self, worker: SeenWorker, key: Hashable, jobs: Mapping[Hashable, Job], limit_of: Callable[[Job], float | None]
    ) -> float | None:
        """Return the limit of a task, from when its worker got it; None if there is none yet.

        A worker with more tasks than threads may do the others first, and nobody sees in which order: a block that
        waits for a tile of minutes does not hang. Others without a limit count as this one.
        """
        own = limit_of(jobs[key]) if key in jobs else None
        if own is None or len(worker.keys) <= worker.threads:
            return own
        others = (limit_of(jobs[other]) or own for other in worker.keys if other != key and other in jobs)
        return own + sum(others)

    def restart(self, address: str, name: str) -> None:
        """Restart a worker; if that times out, its node hangs and the whole job is cancelled."""
        with contextlib.suppress(ValueError, TimeoutError, OSError):  # without a nanny it is not restarted
            done = self._client.restart_workers([address], timeout=_RESTART_TIMEOUT, raise_for_error=False)
            if "timed out" in done.values() and self._fleet is not None:
                self._fleet.give_up(name)


def _longer(usual: float | None, job: Job) -> float | None:
    return _RETRAINING * usual if usual is not None and job.retrain else usual
