"""Ctrl-C, SIGTERM and SIGHUP: the first asks the run to end in order, the second ends it at once."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import FrameType, TracebackType

from ssi_pipeline.interrupts import handling

GRACE_SECONDS = 20.0
"""Time that running tiles get to finish after the first signal."""


class StopRequest:
    """While entered, the first signal only sets ``requested``; the second raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.requested = False
        self._since = 0.0
        self._handling = ExitStack()

    @property
    def overdue(self) -> bool:
        """Whether running tiles have had their time."""
        return self.requested and time.monotonic() - self._since > GRACE_SECONDS

    def __enter__(self) -> StopRequest:
        """Take over the signals; only the main thread can."""
        self._handling.enter_context(handling(self._handle))
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        """Give the signals back."""
        self._handling.close()

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 the system's signature
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self._since = time.monotonic()
