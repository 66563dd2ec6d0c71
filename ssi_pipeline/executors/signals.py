"""Ctrl-C, SIGTERM and SIGHUP where there are worker processes: they are for the client alone."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

from ssi_pipeline.interrupts import ENDING_SIGNALS


@contextmanager
def signals_for_the_client_alone() -> Iterator[None]:
    """Start threads and processes that never see Ctrl-C, SIGTERM or SIGHUP: the client decides when they end.

    A terminal sends Ctrl-C to all processes of a job. The mask is inherited, also by workers that are
    restarted later; one that has to be killed gets SIGKILL.
    """
    # multiprocessing's tracker ignores Ctrl-C and SIGTERM by itself, SIGHUP it has to inherit as blocked
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))
    try:
        # it lifts the mask of the other two in the thread that starts it: let that not be a worker's
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
