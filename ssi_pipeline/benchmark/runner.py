"""Make the rows that are not there yet, several at once, each in a process of its own with one thread."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.benchmark.images import read_truth
from ssi_pipeline.benchmark.methods import Degraded
from ssi_pipeline.benchmark.rows import Row, RowJob, make_row
from ssi_pipeline.benchmark.setup import Benchmark

_TICK_SECONDS = 1.0

Told = Callable[[dict[int, Row], list[RowJob]], None]
"""Called with the rows there are and the jobs under way, at least once a second."""


def make_rows(benchmark: Benchmark, tell: Told) -> dict[int, Row]:
    """Return every row, by the index of its job; those that failed with their error."""
    rows = dict(benchmark.done)
    waiting = [index for index in range(len(benchmark.jobs)) if index not in rows]
    if not waiting:
        return rows
    for folder in ("rows", "estimates"):
        Path(benchmark.jobs[0].output, folder).mkdir(parents=True, exist_ok=True)
    while waiting:
        with _pool(benchmark) as pool:
            try:
                _work(benchmark, pool, waiting, rows, tell)
            except BrokenProcessPool:
                continue  # what was under way is recorded as failed; the others go on in a new pool
    return rows


def _work(
    benchmark: Benchmark, pool: ProcessPoolExecutor, waiting: list[int], rows: dict[int, Row], tell: Told
) -> None:
    """Keep every worker busy until nothing waits; only what can run at once is handed out."""
    running: dict[Future[Row], int] = {}
    while waiting or running:
        while waiting and len(running) < benchmark.options.workers:
            index = waiting.pop(0)
            running[pool.submit(_make, benchmark.jobs[index])] = index
        tell(rows, [benchmark.jobs[index] for index in running.values()])
        finished, _ = wait(running, timeout=_TICK_SECONDS, return_when=FIRST_COMPLETED)
        try:
            for future in finished:
                rows[running[future]] = future.result()
                del running[future]
        except BrokenProcessPool:
            for index in running.values():
                rows[index] = _lost(benchmark.jobs[index])
            raise
        tell(rows, [benchmark.jobs[index] for index in running.values()])


def _lost(job: RowJob) -> Row:
    return Row(job.image, job.method, job.seed, job.setup, error="a worker process died (out of memory?)")


@contextmanager
def _pool(benchmark: Benchmark) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool; when the user stops the command, what its processes compute is of no more use."""
    pool = ProcessPoolExecutor(
        benchmark.options.workers, multiprocessing.get_context("spawn"), _one_thread, (benchmark.psf,)
    )
    before = set(multiprocessing.active_children())
    try:
        yield pool
    except KeyboardInterrupt:
        for child in set(multiprocessing.active_children()) - before:
            child.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_psf: list[NDArray[np.float64]] = []
"""The PSF of this worker process."""


def _one_thread(psf: NDArray[np.float64]) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # read by torch when a solver first imports it
    _psf[:] = [psf]


def _make(job: RowJob) -> Row:
    try:
        truth, degraded = _degraded(job.path, job.crop)
    except Exception as error:  # the image went away after the start: its rows fail, the others go on
        return dataclasses.replace(_lost(job), error=f"{type(error).__name__}: {error}")
    return make_row(job, truth, dataclasses.replace(degraded, changes=job.changes))


@lru_cache(maxsize=2)
def _degraded(path: str, crop: int | None) -> tuple[NDArray[np.float32], Degraded]:
    truth = read_truth(Path(path), crop)
    return truth, Degraded.of(truth, _psf[0])
