"""Faults of an object store: a server that refuses, is slow, is down for a while, and credentials that expire."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from _faults import Bench, Case, Fault, Tally
from s3_server import S3

from ssi_pipeline.storage.store import store_of

_DOWN_S = 5.0

Answer = Callable[[], int | float | None]
"""An HTTP status in place of an answer, a delay in seconds, or nothing, for each request."""


@contextmanager
def _served(bench: Bench, answer: Answer = lambda: None) -> Iterator[S3]:
    """Let the gate inject a fault, and nothing any more afterwards."""
    assert bench.s3 is not None
    bench.s3.fault = lambda *_: answer()
    try:
        yield bench.s3
    finally:
        bench.s3.forget()


def _half_done(case: Case) -> bool:
    return case.done() >= 5


def refused(bench: Bench, tally: Tally) -> None:
    """Each tenth request is answered by 503 and each twentieth after a second, at random; the run repeats them."""
    for _ in bench.times(1, 5):
        case, before = bench.case(), tally.times

        def answer() -> int | float | None:
            if bench.rng.random() < 0.1:
                tally.times += 1
                return 503
            return 1.0 if bench.rng.random() < 0.05 else None

        with _served(bench, answer):
            tally.ended(case.start(), 0)
        tally.expect(tally.times > before, "no request was refused")
        tally.judge(case, bench.expected())


def stopped_server(bench: Bench, tally: Tally) -> None:
    """SIGSTOP in mid-run, SIGCONT five seconds later; requests are waited for."""
    for _ in bench.times(1, 3):
        case = bench.case()
        with _served(bench) as s3:
            call = case.start(sleep=0.7)
            call.wait_for(lambda case=case: _half_done(case))
            s3.process.send_signal(signal.SIGSTOP)
            time.sleep(_DOWN_S)
            os.kill(s3.process.pid, signal.SIGCONT)
            tally.times += 1
            tally.ended(call, 0)
        tally.judge(case, bench.expected())


def restarted_server(bench: Bench, tally: Tally) -> None:
    """Five seconds in mid-run in which each request is answered by 503, as before a server is up again."""
    for _ in bench.times(1, 3):
        case, down = bench.case(), []
        with _served(bench, lambda down=down: 503 if down else None):
            call = case.start(sleep=0.7)
            call.wait_for(lambda case=case: _half_done(case))
            down.append(True)
            time.sleep(_DOWN_S)
            down.clear()
            tally.times += 1
            tally.ended(call, 0)
        tally.judge(case, bench.expected())


def expired(bench: Bench, tally: Tally) -> None:
    """From the fifth tile on each request is answered by 403; the run stops in order, and resumes with valid ones."""
    for _ in bench.times(1, 3):
        case = bench.case()
        with _served(bench, lambda case=case: 403 if case.state.exists() and _half_done(case) else None):
            tally.times += 1
            tally.ended(case.start(sleep=0.7), 3, "access denied", "check the credentials in the environment")
        tally.ended(case.start(), 0)
        tally.judge(case, bench.expected())


def emptied(bench: Bench, tally: Tally) -> None:
    """All objects in mid-run: it stops; the next start is refused, or repairs it if a block came after; made anew."""
    for _ in bench.times(1, 3):
        case = bench.case()
        call = case.start(sleep=0.7)
        call.wait_for(lambda case=case: _half_done(case))
        for entry in list((store := store_of(case.output)).list()):
            store.delete(entry.key)
        tally.times += 1
        tally.ended(call, 3)
        tally.ended(case.start(), (0, 2))
        tally.ended(case.start("--recreate-output"), 0)
        tally.judge(case, bench.expected(), destroyed=True)


FAULTS = (
    Fault("503", "S3: requests answered by 503, or late", refused),
    Fault("stopped-server", "S3: SIGSTOP of the server for 5 s", stopped_server),
    Fault("restart", "S3: server down for 5 s", restarted_server),
    Fault("expired", "S3: credentials expire", expired),
    Fault("emptied", "S3: the output is deleted in mid-run", emptied),
)
