"""The worker processes of this machine: those that are gone for good are replaced."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection
from typing import Any

from distributed.core import Status

_GONE = (Status.closed, Status.failed)
"""Of a nanny: it will not start a process any more."""

_SILENT_S = 30.0
"""A process that was there before and is missed for so long is killed; its nanny starts another."""


class LocalFleet:
    """Looks after the nannies of a LocalCluster, which live in this process.

    A nanny replaces a process that dies. One that leaves in order takes its nanny with it, and one that has left
    the scheduler may be kept alive by a thread: both would be missed for good.
    """

    patience_s = 0.0

    def __init__(self, cluster: Any, size: int, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._size = size
        self._say = say
        self._missed: dict[str, float] = {}
        self._known: set[str] = set()

    def tend(self, connected: Collection[str], enough: bool) -> None:  # noqa: ARG002 there are no more to be had
        """Start what is missing, and kill processes that were connected once and have been silent for long."""
        for name in [n for n, nanny in self._cluster.workers.items() if nanny.status in _GONE]:
            self._cluster.loop.add_callback(self._cluster.workers.pop, name, None)
        self._cluster.scale(self._size)  # starts what is not there
        now = time.monotonic()
        self._known |= set(connected)
        nannies = {str(name): nanny for name, nanny in self._cluster.workers.items()}
        silent = {name for name in self._known & set(nannies) if name not in connected}
        self._missed = {name: self._missed.get(name, now) for name in silent}
        for name, since in list(self._missed.items()):
            if now - since > _SILENT_S:
                self._missed[name] = now  # a new process takes its time
                self._kill(name, nannies[name])

    def _kill(self, name: str, nanny: Any) -> None:
        pid = nanny.pid
        self._say(f"worker {name} (process {pid}) has left without ending: killed, to be replaced")
        with contextlib.suppress(OSError, TypeError):
            os.kill(pid, signal.SIGKILL)

    def departure(self, worker: str) -> str | None:  # noqa: ARG002 whatever worker it is
        """A process of this machine dies of its own doing, as far as can be seen."""
        return None

    def avoid(self, host: str) -> bool:  # noqa: ARG002 there is one machine only
        """Nothing else is there to take its place."""
        return False

    def give_up(self, worker: str) -> None:
        """Leave it to ``tend``, which kills who has been silent for long."""

    def close(self) -> None:
        """The cluster ends its processes."""
