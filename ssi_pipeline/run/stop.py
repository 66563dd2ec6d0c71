"""Ctrl-C and SIGTERM: the first asks the run to end in order, the second ends it at once."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

GRACE_SECONDS = 20.0
"""Time that running tiles get to finish after the first signal."""


class StopRequest:
    """While entered, the first signal only sets ``requested``; the second raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.requested = False
        self._since = 0.0
        self._before: dict[int, Any] = {}

    @property
    def overdue(self) -> bool:
        """Whether running tiles have had their time."""
        return self.requested and time.monotonic() - self._since > GRACE_SECONDS

    def __enter__(self) -> StopRequest:
        """Take over the signals; only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 the system's signature
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self._since = time.monotonic()
