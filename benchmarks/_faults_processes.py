"""Faults of processes: workers, clients and the scheduler are killed, stopped, or die of a tile."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import _inject
import psutil
from _faults import Bench, Case, Fault, Tally
from kill import TILES, WORKERS, forget, kill_clients, kill_workers, worker_processes

_DASK = (sys.executable, "-m", "distributed.cli.dask_scheduler"), (sys.executable, "-m", "distributed.cli.dask_worker")


def killed_workers(bench: Bench, tally: Tally) -> None:
    """One after the other, at random moments while tiles are trained."""
    expected, count = bench.expected("ssi"), len(bench.times(2, 10))
    while tally.times < count:
        case = bench.case("ssi")
        run = kill_workers(case.config, expected, count - tally.times, bench.rng)
        tally.expect(run.sound and bool(run.kills), "the run with killed workers is not sound")
        tally.times += len(run.kills)
        tally.ends.append(0)
        tally.judge(case, expected)


def killed_clients(bench: Bench, tally: Tally) -> None:
    """Alternately at random moments after its start, and soon after it recorded a tile; about ten kills a run."""
    expected, count = bench.expected("ssi"), len(bench.times(2, 50))
    case = bench.case("ssi")
    while tally.times < count:
        forget(case.config)
        # a run of 24 tiles survives some ten kills before it is complete
        run = kill_clients(
            case.config, expected, bench.undisturbed("ssi").seconds, min(10, count - tally.times), bench.rng
        )
        tally.expect(run.sound, "the run with killed clients is not sound")
        tally.times += len(run.kills)
        tally.ends += [128 + signal.SIGKILL] * len(run.kills) + [0]
        tally.judge(case, expected)
        print(f"  {tally.times} clients killed, {tally.equal} of {tally.images} images equal", flush=True)


def chaos(bench: Bench, tally: Tally) -> None:
    """Each ends by itself after a random time, in any state."""
    life = max(8.0, 0.5 * bench.undisturbed().seconds)  # on a slow machine none would live until its first tile
    for _ in bench.times(1, 2):
        case = bench.case()
        call = case.start(
            chaos=f"{life:.0f} s", sleep=life / 6, worker_losses=50
        )  # tiles for twice the life of a worker
        tally.ended(call, 0, " lost (")
        tally.times += len(list((case.state / "logs").iterdir())) - WORKERS  # one log for each process that had a task
        tally.judge(case, bench.expected())


def stopped_worker(bench: Bench, tally: Tally) -> None:
    """In the middle of a tile; after `tile_limit_s` it is replaced within the run."""
    for _ in bench.times(1, 2):
        case = bench.case(tile_limit_s=10)
        call = case.start(sleep=1)
        call.wait_for(lambda case=case: case.done() >= 4)
        bench.rng.choice(worker_processes(call.process.pid)).send_signal(signal.SIGSTOP)
        tally.times += 1
        tally.ended(call, 0, "(limit 10 s)")
        tally.judge(case, bench.expected())


def poison(bench: Bench, tally: Tally) -> None:
    """Each worker that starts it dies; all other tiles are done, it fails with its cause; fixed, `--retry-failed`."""
    for _ in bench.times(1, 2):
        tile = bench.rng.randrange(TILES)
        case = bench.case()
        tally.times += 1
        tally.ended(case.start(poison=tile, worker_losses=2), 1, f"solve/{tile} failed", "3 times")
        tally.expect(case.indices("solve", "failed") == [tile], "other tiles failed as well")
        tally.expect(case.done() == TILES - 1, "tiles waited for the one that failed")
        tally.ended(case.start("--retry-failed"), 0)
        tally.judge(case, bench.expected())


def killed_scheduler(bench: Bench, tally: Tally) -> None:
    """A manually started one; the run stops in order and resumes with another scheduler."""
    for _ in bench.times(1, 2):
        case = bench.case()
        with _cluster(case, "first") as (address, scheduler):
            case.change(address=address)
            call = case.start(sleep=0.7)
            call.wait_for(lambda case=case: case.done() >= 4)
            scheduler.kill()
            tally.times += 1
            tally.ended(call, 3, "run again to resume")
        with _cluster(case, "second", workers=1) as (address, _):
            case.change(address=address)
            tally.ended(case.start(), 0)
        tally.judge(case, bench.expected())


@contextmanager
def _cluster(case: Case, name: str, workers: int = WORKERS) -> Iterator[tuple[str, psutil.Popen]]:
    """Start a scheduler and workers as processes; yields the scheduler's address and process."""
    folder = case.config.parent / name
    folder.mkdir()
    where, environment = folder / "scheduler.json", {**os.environ, **_inject.environment()}
    environment.pop("DASK_DISTRIBUTED__CLIENT__PRELOAD")  # only the injection's module has to be found
    scheduler_words, worker_words = _DASK
    processes: list[psutil.Popen] = []

    def start(*words: str) -> psutil.Popen:
        with (folder / "words.txt").open("ab") as log:
            processes.append(psutil.Popen(words, env=environment, stdout=log, stderr=log, start_new_session=True))
        return processes[-1]

    try:
        options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(where))
        scheduler = start(*scheduler_words, *options)
        _wait_for_file(where, scheduler)
        for _ in range(workers):
            options = ("--scheduler-file", str(where), "--nthreads", "1", "--no-dashboard", "--no-nanny")
            start(*worker_words, *options, "--local-directory", str(folder))
        yield json.loads(where.read_text())["address"], scheduler
    finally:
        for process in processes:
            _end(process)


def _wait_for_file(path: Path, process: psutil.Popen) -> None:
    until = time.monotonic() + 120
    while not (path.exists() and path.stat().st_size):
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError("the scheduler has not started")
        time.sleep(0.1)


def _end(process: psutil.Popen) -> None:
    """End a process and what it started."""
    family = [process, *(process.children(recursive=True) if process.is_running() else [])]
    for member in family:
        try:
            member.kill()
        except psutil.Error:
            continue
    process.wait()


FAULTS = (
    Fault("workers", "SIGKILL of workers", killed_workers),
    Fault("chaos", "workers that die at random (distributed.chaos)", chaos, short=False),
    Fault("clients", "SIGKILL of the client", killed_clients),
    Fault("scheduler", "SIGKILL of the dask scheduler", killed_scheduler),
    Fault("stopped", "SIGSTOP of a worker", stopped_worker, short=False),
    Fault("poison", "a tile that kills its workers", poison, short=False),
)
