"""Make the rows that are not there yet, several at once, each in a process of its own with one thread."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path

from ssi_pipeline.benchmark.rows import Row, RowJob
from ssi_pipeline.benchmark.setup import MADE, Benchmark
from ssi_pipeline.benchmark.worker import begin, make
from ssi_pipeline.executors.signals import signals_for_the_client_alone
from ssi_pipeline.run.stop import StopRequest
from ssi_pipeline.storage.state.made import note

_TICK_SECONDS = 1.0

Told = Callable[[dict[int, Row], list[RowJob]], None]
"""Called with the rows there are and the jobs under way, at least once a second."""


def make_rows(benchmark: Benchmark, tell: Told) -> dict[int, Row]:
    """Return every row, by the index of its job; those that failed with their error.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C or SIGTERM: the rows under way are given up, those that were made are kept.
    """
    rows = dict(benchmark.done)
    waiting = [index for index in range(len(benchmark.jobs)) if index not in rows]
    if not waiting:
        return rows
    note(benchmark.options.output, MADE)
    for folder in ("rows", "estimates"):
        Path(benchmark.jobs[0].output, folder).mkdir(parents=True, exist_ok=True)
    with StopRequest() as stop:
        while waiting:
            # what was under way in a pool that broke is recorded as failed; the others go on in a new one
            with suppress(BrokenProcessPool), _pool(benchmark) as pool:
                _work(benchmark, pool, waiting, rows, tell, stop)
    return rows


def _work(
    benchmark: Benchmark,
    pool: ProcessPoolExecutor,
    waiting: list[int],
    rows: dict[int, Row],
    tell: Told,
    stop: StopRequest,
) -> None:
    """Keep every worker busy until nothing waits; only what can run at once is handed out."""
    running: dict[Future[Row], int] = {}
    try:
        while waiting or running:
            with signals_for_the_client_alone():  # a pool starts its processes as it is given work
                while waiting and len(running) < benchmark.options.workers:
                    running[pool.submit(make, benchmark.jobs[waiting[0]])] = waiting[0]
                    del waiting[0]
            tell(rows, [benchmark.jobs[index] for index in running.values()])
            finished, _ = wait(running, timeout=_TICK_SECONDS, return_when=FIRST_COMPLETED)
            if stop.requested:
                raise KeyboardInterrupt
            for future in finished:
                rows[running[future]] = future.result()
                del running[future]
            tell(rows, [benchmark.jobs[index] for index in running.values()])
    except BrokenProcessPool:
        for future, index in running.items():
            made = future.done() and future.exception() is None
            rows[index] = future.result() if made else _lost(benchmark.jobs[index])
        raise


def _lost(job: RowJob) -> Row:
    return Row(job.image, job.method, job.seed, job.setup, error="a worker process died (out of memory?)")


@contextmanager
def _pool(benchmark: Benchmark) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool; when the work ends early, what its processes compute is of no more use."""
    pool = ProcessPoolExecutor(benchmark.options.workers, multiprocessing.get_context("spawn"), begin, (benchmark.psf,))
    before = set(multiprocessing.active_children())
    try:
        yield pool
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
