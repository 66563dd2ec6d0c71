"""Block Ctrl-C, SIGTERM and SIGHUP in worker processes, so that only the client handles them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

from ssi_pipeline.interrupts import ENDING_SIGNALS


@contextmanager
def signals_for_the_client_alone() -> Iterator[None]:
    """Block these signals in threads and processes started by the body: the client decides when they end.

    A terminal sends Ctrl-C to all processes of a job. The mask is inherited, also by restarted workers; those to be
    killed get SIGKILL.
    """
    # multiprocessing's resource tracker ignores Ctrl-C and SIGTERM, but not SIGHUP, which it inherits as blocked
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))
    try:
        # starting it unblocks the other two in the calling thread: start it before any worker
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
