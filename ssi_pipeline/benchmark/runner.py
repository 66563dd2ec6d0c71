"""Compute the missing rows in parallel, in single-threaded worker processes."""

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

OnProgress = Callable[[dict[int, Row], list[RowJob]], None]
"""Callback for the finished rows and the running jobs, at least once per second."""


def make_rows(benchmark: Benchmark, report: OnProgress) -> dict[int, Row]:
    """Return all rows by job index; failed rows contain their error.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C or SIGTERM: running rows are discarded, finished rows are kept.
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
            # running rows of a broken pool are recorded as failed; the others continue in a new pool
            with suppress(BrokenProcessPool), _pool(benchmark) as pool:
                _work(benchmark, pool, waiting, rows, report, stop)
    return rows


def _work(
    benchmark: Benchmark,
    pool: ProcessPoolExecutor,
    waiting: list[int],
    rows: dict[int, Row],
    report: OnProgress,
    stop: StopRequest,
) -> None:
    """Keep every worker busy until no row is pending; submit no more than can run at once."""
    running: dict[Future[Row], int] = {}
    try:
        while waiting or running:
            with signals_for_the_client_alone():  # a pool starts its processes on submission
                while waiting and len(running) < benchmark.options.workers:
                    running[pool.submit(make, benchmark.jobs[waiting[0]])] = waiting[0]
                    del waiting[0]
            report(rows, [benchmark.jobs[index] for index in running.values()])
            finished, _ = wait(running, timeout=_TICK_SECONDS, return_when=FIRST_COMPLETED)
            if stop.requested:
                raise KeyboardInterrupt
            for future in finished:
                rows[running[future]] = future.result()
                del running[future]
            report(rows, [benchmark.jobs[index] for index in running.values()])
    except BrokenProcessPool:
        for future, index in running.items():
            made = future.done() and future.exception() is None
            rows[index] = future.result() if made else _lost(benchmark.jobs[index])
        raise


def _lost(job: RowJob) -> Row:
    return Row(job.image, job.method, job.seed, job.setup, error="a worker process died (out of memory?)")


@contextmanager
def _pool(benchmark: Benchmark) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool; if the work ends early, its processes are terminated."""
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
