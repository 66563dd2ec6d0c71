"""Stop a run on Ctrl-C, SIGTERM or SIGHUP: gracefully on the first signal, at once on the second."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from types import FrameType, TracebackType

from ssi_pipeline.interrupts import handling

GRACE_SECONDS = 20.0
"""Time for running tiles to finish after the first signal."""


class StopRequest:
    """While entered, the first signal only sets ``requested``; the second raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.requested = False
        self._since = 0.0
        self._handling = ExitStack()

    @property
    def overdue(self) -> bool:
        """Whether the time for running tiles is over."""
        return self.requested and time.monotonic() - self._since > GRACE_SECONDS

    def __enter__(self) -> StopRequest:
        """Install the signal handlers; possible in the main thread only."""
        self._handling.enter_context(handling(self._handle))
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        """Restore the signal handlers."""
        self._handling.close()

    def at_once(self) -> None:
        """Request an end without waiting for running tiles."""
        self.requested, self._since = True, -math.inf

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 signature of signal handlers
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self._since = time.monotonic()
