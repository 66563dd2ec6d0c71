"""Run batches as dask tasks, on any cluster.

The task graph stays small: the run keeps a rolling window of submitted batches, each batch is one task with small
arguments, and its result is fetched and released as soon as it is finished.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from distributed import Client, Future, LocalCluster
from distributed.scheduler import KilledWorker

from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.executors.base import LOST_GPU, Completed, Workers
from ssi_pipeline.executors.borrowed import BorrowedFleet
from ssi_pipeline.executors.fit import FitWorkers
from ssi_pipeline.executors.hung import HungWorkers
from ssi_pipeline.executors.losses import UndecidedLosses
from ssi_pipeline.executors.watch import SeenWorker, TimeLimit, observe
from ssi_pipeline.storage.state.compute import Compute
from ssi_pipeline.storage.state.records import Job, TaskRecord
from ssi_pipeline.tasks import RunSpec
from ssi_pipeline.tasks.ability import Ability
from ssi_pipeline.tasks.execute import execute

_FETCH_TIMEOUT = 30
_LOOK_SECONDS = 3.0
_ANSWER_SECONDS = 60
"""Timeout of requests to the scheduler."""

_WAIT_SECONDS = 0.2


class DaskExecutor:
    """Runs batches on the workers of a dask cluster.

    The batch of a worker that died is returned as lost: at once on a cluster started here, elsewhere after the number
    of failures that its scheduler allows; the run decides on retries. A worker that exceeds the time limit of a task
    is restarted. Lost SLURM jobs are replaced.
    """

    def __init__(
        self,
        spec: RunSpec,
        client: Client,
        cluster: Any = None,
        fleet: Workers | None = None,
        limit: TimeLimit | None = None,
        closing: Callable[[], None] | None = None,
        log: Callable[[str], None] = lambda _: None,
        owned: bool = True,
    ) -> None:
        self._spec = spec
        self._client = client
        self._cluster = cluster
        self._fleet = fleet
        self._hung = HungWorkers(client, fleet, limit or TimeLimit(None))
        self._closing = closing
        self._owned = owned
        self._log = log
        self._address = client.scheduler.address if client.scheduler else "?"
        self._finished: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._jobs: dict[Any, tuple[Job, ...]] = {}
        self._futures: dict[Any, Future[Any]] = {}
        self._undecided = UndecidedLosses(fleet)
        self._group, self._numbers = spec.fingerprint, itertools.count(1)
        self._beside: list[DaskExecutor] = []
        self._pending = 0
        self._workers: list[SeenWorker] = []
        self._fit = FitWorkers()
        self._replaced: set[str] = set()
        self._lost_processes: list[TaskRecord] = []
        self._looked = -math.inf

    @property
    def slots(self) -> int:
        """Number of worker threads that are connected, at least 1; updated every few seconds."""
        fit = self._fit.of(self._workers)
        if isinstance(self._cluster, LocalCluster):
            return max(1, len(self._cluster.workers) - (len(self._workers) - len(fit)))
        if self._looked == -math.inf:
            self._see()
            fit = self._fit.of(self._workers)
        return max(1, sum(worker.threads for worker in fit))

    @property
    def pending(self) -> int:
        """Number of jobs submitted and not yet returned."""
        return self._pending

    def submit(self, jobs: Sequence[Job]) -> None:
        """Submit a batch as one task."""
        batch = tuple(jobs)
        # batches of one kind share a group, or the scheduler would assign them all at once (worker-saturation)
        key = (f"{batch[0].kind}-{self._group}", next(self._numbers))
        self._refuse_dead_client()
        where = self._fit.restriction(self._workers)
        future = self._client.submit(execute, self._spec, batch, key=key, pure=False, **where)
        self._jobs[key], self._futures[key] = batch, future
        self._pending += len(batch)
        future.add_done_callback(self._finished.put)

    def completed(self, timeout: float) -> list[Completed]:
        """Return all finished batches."""
        done = []
        try:
            done.append(self._finished.get(timeout=timeout))
            while True:
                done.append(self._finished.get_nowait())
        except queue.Empty:
            self._refuse_dead_client()
        batches = [batch for future in done if (batch := self._collect(future)) is not None]
        while self._lost_processes:  # after all results are fetched: they may lie on the worker that is restarted
            self._replace(self._lost_processes.pop())
        return batches + self._decided() + self._look()

    def _collect(self, future: Future[Any]) -> Completed | None:
        """Return the result of a finished task; None for a cancelled one, or while the cause of a loss is unknown."""
        if future.key not in self._jobs:
            return None
        try:
            # a result can be lost with its worker before it is fetched: do not wait for dask to run the batch again
            records = tuple(future.result(timeout=_FETCH_TIMEOUT))
        except KilledWorker as error:
            if error.last_worker.address in self._replaced:
                return self._back(future.key, lost=f"its worker's process was replaced: {LOST_GPU}", preempted=True)
            why = "the worker that ran it died (out of memory, or killed)"
            self._undecided.add(future.key, str(error.last_worker.name), why)
            return None
        except Exception as problem:  # any error of dask for a lost result, or a worker that cannot start a task
            future.cancel()
            return self._back(future.key, lost=f"{type(problem).__name__}: {problem}", preempted=True)
        for record in records:
            self._hung.note(record)
            if record.of_machine:
                self._note_place(record, future)
            if record.of_lost_process:
                self._lost_processes.append(record)
        return self._back(future.key, records)

    def _note_place(self, record: TaskRecord, future: Future[Any]) -> None:
        """Learn the address of a worker from the location of its result."""
        with self._scheduler_may_be_gone():
            holders = self._client.who_has([future])
        self._fit.note(record.host, itertools.chain.from_iterable(holders.values()))

    def _replace(self, record: TaskRecord) -> None:
        """Restart the process of a task; where nothing starts another, it gets no more tasks."""
        self._fit.exclude(record.host)
        address = self._fit.address(record.host)
        if address is not None and address not in self._replaced:
            self._replaced.add(address)
            self._log(f"{record.host} is replaced: {LOST_GPU}")
            self._hung.restart(address, next((w.name for w in self._workers if w.address == address), address))

    def _back(
        self, key: Any, records: tuple[TaskRecord, ...] = (), lost: str | None = None, preempted: bool = False
    ) -> Completed:
        """Remove a batch and return its result."""
        jobs = self._jobs.pop(key)
        self._futures.pop(key)
        self._pending -= len(jobs)
        return Completed(jobs, records, lost, preempted)

    def _decided(self) -> list[Completed]:
        """Return the lost batches with a known cause: either the whole SLURM job ended, or only a process."""
        losses = self._undecided.decide(self._jobs, (worker.name for worker in self._workers), self._looked)
        return [self._back(loss.key, lost=loss.why, preempted=loss.job_ended) for loss in losses]

    def _look(self) -> list[Completed]:
        """Update the list of workers every few seconds; restart hung ones, replace lost ones."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return []
        self._see()
        if self._fleet is not None:
            names, pending = [worker.name for worker in self._workers], sum(e.pending for e in (self, *self._beside))
            self._fleet.tend(names, enough=bool(names) and pending < len(names))
        return self._restart_hung()

    def _see(self) -> None:
        self._looked = time.monotonic()
        with self._scheduler_may_be_gone():
            # like run_on_scheduler, with a timeout for a scheduler that does not respond
            self._workers = self._client.sync(self._client._run_on_scheduler, observe, callback_timeout=_ANSWER_SECONDS)

    def _restart_hung(self) -> list[Completed]:
        """Cancel tasks that exceed their time limit, and restart their workers."""
        batches, first = [], {key: jobs[0] for key, jobs in self._jobs.items()}
        for text in self._hung.slow(self._workers, first):
            self._log(text)
        for hung in self._hung.find(self._workers, first):
            self._client.cancel([self._futures[hung.key]], force=True)
            batches.append(self._back(hung.key, lost=hung.why))
            self._hung.restart(hung.worker.address, hung.worker.name)
        return batches

    def _refuse_dead_client(self) -> None:
        if self._client.status not in ("running", "connecting"):
            raise ExecutorError(f"lost the connection to the dask scheduler at {self._address}; run again to resume")

    @contextlib.contextmanager
    def _scheduler_may_be_gone(self) -> Iterator[None]:
        try:
            yield
        except (OSError, TimeoutError) as error:
            raise ExecutorError(
                f"lost the connection to the dask scheduler at {self._address} ({error}); run again to resume"
            ) from error

    def abilities(self, stopped: Callable[[], bool]) -> list[Ability]:
        """Query the connected workers; waits for the first."""
        while not stopped():
            self._refuse_dead_client()
            self._look()
            if found := self._fit.ask(self._client, self._workers, stopped):
                return found
            time.sleep(_WAIT_SECONDS)
        return []

    def use(self, compute: Compute) -> None:
        """Set device and precision of all further tasks."""
        self._spec = replace(self._spec, compute=compute)

    def exclude(self, place: str) -> bool:
        """Exclude a worker; with a SLURM fleet, exclude its node."""
        self._fit.exclude(place)
        if self._fleet is not None and self._fleet.avoid(place.rpartition(":")[0]):
            return True
        self._see()
        return bool(self._fit.of(self._workers))

    def avoid(self, host: str) -> bool:
        """Exclude a node of the fleet; on a cluster started elsewhere, suspend the workers of the host."""
        if self._fleet is not None:
            return self._fleet.avoid(host)
        self._see()
        return self._fit.suspend(host, self._workers)

    def withdraw(self) -> None:
        """Cancel the batches that no worker has started."""

        def release(keys: list[str], client: str, dask_scheduler: Any) -> list[str]:
            """Release the tasks that no worker has, in one step of the scheduler, and return them.

            Asked first and cancelled later, one that a worker takes in between would be computed for nothing. A
            function within a function is sent by value: the scheduler may not have this package.
            """
            tasks, not_begun = dask_scheduler.tasks, ("queued", "no-worker", "waiting")
            waiting = [key for key in keys if key not in tasks or tasks[key].state in not_begun]
            known = [key for key in waiting if key in tasks]  # the others are on their way
            dask_scheduler.client_releases_keys(keys=known, client=client, stimulus_id="withdraw")
            return waiting

        undecided = self._undecided.keys
        keys = [key for key, future in self._futures.items() if key not in undecided and not future.done()]
        with self._scheduler_may_be_gone():
            waiting = self._client.run_on_scheduler(release, keys=keys, client=self._client.id)
        self._client.cancel([self._futures.pop(key) for key in waiting])
        self._pending -= sum(len(self._jobs.pop(key)) for key in waiting)

    def beside(self, spec: RunSpec, limit: TimeLimit, log: Callable[[str], None]) -> DaskExecutor:
        """Return an executor of another run on the same workers, which this one goes on tending; thread-safe."""
        fleet = None if self._fleet is None else BorrowedFleet(self._fleet)
        other = DaskExecutor(spec, self._client, fleet=fleet, limit=limit, log=log, owned=False)
        other._group, other._numbers = self._group, self._numbers  # two runs may have one fingerprint
        other._closing = lambda: self._beside.remove(other)
        self._beside.append(other)
        return other

    def close(self) -> None:
        """Cancel running batches, and shut down the client and the workers started here."""
        with contextlib.suppress(Exception):  # the cluster may have ended already
            self._client.cancel(list(self._futures.values()), force=True)
        self._futures.clear()
        self._jobs.clear()
        if self._fleet is not None:
            with contextlib.suppress(Exception):
                self._fleet.close()
        if self._owned:
            with contextlib.suppress(Exception):
                self._client.close(timeout=5)
        if self._cluster is not None:
            with contextlib.suppress(Exception):
                self._cluster.close(timeout=10)
        if self._closing is not None:
            self._closing()
