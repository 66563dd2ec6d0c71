"""Handle the termination signals: Ctrl-C, SIGTERM of batch systems, SIGHUP of a closed terminal."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Handler = Callable[[int, FrameType | None], None]


@contextmanager
def handling(handler: Handler) -> Iterator[None]:
    """Install a handler for these signals; only in the main thread, as Python requires.

    An ignored SIGHUP stays ignored, as ``nohup`` requires. After SIGHUP, output to the closed terminal is discarded.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def handle(number: int, frame: FrameType | None) -> None:
        """Release a closed terminal, then call the handler."""
        if number == signal.SIGHUP:
            _leave(terminals)
        handler(number, frame)

    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    chosen = [n for n in ENDING_SIGNALS if n != signal.SIGHUP or before[n] != signal.SIG_IGN]
    for number in chosen:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in chosen:
            signal.signal(number, before[number])


def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 signature of signal handlers
    """Handle any of the signals as Python handles Ctrl-C."""
    raise KeyboardInterrupt


def _leave(terminals: list[int]) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in terminals:
        os.dup2(nowhere, number)
    os.close(nowhere)
