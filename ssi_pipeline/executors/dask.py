"""Batches as dask tasks, on a cluster of local processes or on any scheduler.

The client never holds the whole job: the run keeps a rolling window of batches under way, each batch is
one small task without arguments of size, and its result is fetched and released as soon as it is there.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import time
from collections.abc import Iterator, Sequence
from typing import Any

import dask
from distributed import Client, Future, LocalCluster, Security
from distributed.scheduler import KilledWorker

from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.executors.base import Completed
from ssi_pipeline.executors.signals import signals_for_the_client_alone
from ssi_pipeline.storage.records import Job
from ssi_pipeline.tasks import RunSpec, execute

_START_TIMEOUT = "120s"
_FETCH_TIMEOUT = 30
_KEPT_BYTES = 2**29
_MAPPED_BYTES = 2**25  # the most that glibc takes; larger arrays are mapped and unmapped each time
_SLOTS_SECONDS = 5.0


class DaskExecutor:
    """Runs batches on the workers of a dask cluster.

    A worker that dies is the infrastructure's fault: its batch comes back as lost, at once on a local cluster,
    elsewhere after as many tries as that scheduler allows; the run decides what is tried again.
    """

    def __init__(self, spec: RunSpec, client: Client, cluster: LocalCluster | None = None) -> None:
        self._spec = spec
        self._client = client
        self._cluster = cluster
        self._address = client.scheduler.address if client.scheduler else "?"
        self._finished: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._jobs: dict[Any, tuple[Job, ...]] = {}
        self._futures: dict[Any, Future[Any]] = {}
        self._count = 0
        self._pending = 0
        self._slots, self._asked = 1, -math.inf

    @property
    def slots(self) -> int:
        """Number of worker threads that are connected, at least 1; asked for again every few seconds."""
        if self._cluster is not None:
            return max(1, len(self._cluster.workers))
        if time.monotonic() - self._asked > _SLOTS_SECONDS:
            with self._scheduler_may_be_gone():
                self._slots = max(1, sum(self._client.nthreads().values()))
            self._asked = time.monotonic()
        return self._slots

    @property
    def pending(self) -> int:
        """Number of jobs submitted and not yet back."""
        return self._pending

    def submit(self, jobs: Sequence[Job]) -> None:
        """Send a batch as one task."""
        batch = tuple(jobs)
        self._count += 1
        # batches of one kind are one group, or the scheduler would hand them all out at once (worker-saturation)
        key = (f"{batch[0].kind}-{self._spec.fingerprint}", self._count)
        self._refuse_dead_client()
        future = self._client.submit(execute, self._spec, batch, key=key, pure=False)
        self._jobs[key], self._futures[key] = batch, future
        self._pending += len(batch)
        future.add_done_callback(self._finished.put)

    def completed(self, timeout: float) -> list[Completed]:
        """Return the batches that came back, all that are there."""
        done = []
        try:
            done.append(self._finished.get(timeout=timeout))
            while True:
                done.append(self._finished.get_nowait())
        except queue.Empty:
            self._refuse_dead_client()
        return self._collect(done)

    def _collect(self, done: list[Future[Any]]) -> list[Completed]:
        batches = []
        for future in done:
            if future.key not in self._jobs:
                continue  # withdrawn
            jobs = self._jobs.pop(future.key)
            self._futures.pop(future.key)
            self._pending -= len(jobs)
            try:
                # a result can be lost with its worker before it is fetched: never wait for the batch to be run again
                records = tuple(future.result(timeout=_FETCH_TIMEOUT))
            except KilledWorker:
                batches.append(Completed(jobs, (), lost="the worker that ran it died (out of memory, or killed)"))
            except Exception as problem:  # whatever dask raises for a lost result, or a worker that cannot start a task
                future.cancel()
                batches.append(Completed(jobs, (), lost=f"{type(problem).__name__}: {problem}"))
            else:
                batches.append(Completed(jobs, records))
        return batches

    def _refuse_dead_client(self) -> None:
        if self._client.status not in ("running", "connecting"):
            raise ExecutorError(f"the dask scheduler at {self._address} is gone; run again to resume")

    @contextlib.contextmanager
    def _scheduler_may_be_gone(self) -> Iterator[None]:
        try:
            yield
        except (OSError, TimeoutError) as error:
            raise ExecutorError(
                f"the dask scheduler at {self._address} is gone ({error}); run again to resume"
            ) from error

    def withdraw(self) -> None:
        """Cancel the batches that no worker has."""
        with self._scheduler_may_be_gone():
            begun = {key for keys in self._client.processing().values() for key in keys}
        waiting = [key for key, future in self._futures.items() if key not in begun and not future.done()]
        self._client.cancel([self._futures.pop(key) for key in waiting])
        self._pending -= sum(len(self._jobs.pop(key)) for key in waiting)

    def close(self) -> None:
        """Cancel what still runs and shut down the workers that were started here."""
        with contextlib.suppress(Exception):  # the cluster may be gone already: nothing is owed to it
            self._client.cancel(list(self._futures.values()), force=True)
        self._futures.clear()
        self._jobs.clear()
        with contextlib.suppress(Exception):
            self._client.close(timeout=5)
        if self._cluster is not None:
            with contextlib.suppress(Exception):
                self._cluster.close(timeout=10)


def open_local(spec: RunSpec, workers: int, threads: int, memory: int) -> DaskExecutor:
    """Start worker processes on this machine, reachable from this machine only."""
    settings: dict[str, Any] = {
        # the run counts the losses; the scheduler would count them once more, and innocent tasks with them
        "distributed.scheduler.allowed-failures": 0,
        # a worker gets no task (but the first few) before it is free: a waiting one is not lost with it
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.http.routes": [],
        "distributed.worker.daemon": True,
        "distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS": threads,
        "distributed.nanny.pre-spawn-environ.MKL_NUM_THREADS": threads,
        # dask has malloc give memory back at once, and each training step would fault all of it in again
        "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": _KEPT_BYTES,
        "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": _MAPPED_BYTES,
        # a tile's memory is arrays of torch and numpy, which dask cannot spill: only the last limit is of use
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
    }
    with dask.config.set(settings), signals_for_the_client_alone():
        return _start_local(spec, workers, memory)


def _start_local(spec: RunSpec, workers: int, memory: int) -> DaskExecutor:
    cluster = None
    try:
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            # dask's protocol runs code: without certificates any user of this machine could, in our name
            security=Security.temporary(),
            dashboard_address="127.0.0.1:0",  # None would take port 8787, and complain where it is taken
            memory_limit=memory,
            silence_logs=logging.CRITICAL,
        )
        return DaskExecutor(spec, Client(cluster, timeout=_START_TIMEOUT), cluster)
    except (OSError, RuntimeError, TimeoutError) as error:
        if cluster is not None:
            cluster.close(timeout=10)
        raise ExecutorError(f"the {workers} local workers cannot be started: {error}") from error


def open_remote(spec: RunSpec, address: str) -> DaskExecutor:
    """Use the workers of a running scheduler.

    Raises
    ------
    ExecutorError
        Nothing answers at the address, or it has no workers.
    """
    try:
        client = Client(address, timeout="20s")
    except (OSError, TimeoutError, ValueError) as error:
        raise ExecutorError(f"no dask scheduler answers at executor.address {address}: {error}") from error
    try:
        client.wait_for_workers(1, timeout=60)
    except TimeoutError as error:
        client.close()
        raise ExecutorError(f"the dask scheduler at {address} has had no worker for 60 s: start some") from error
    return DaskExecutor(spec, client)
