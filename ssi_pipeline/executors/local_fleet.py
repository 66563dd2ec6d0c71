"""Replace lost worker processes of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection
from typing import Any

from distributed.core import Status

_GONE = (Status.closed, Status.failed)
"""States of a nanny that starts no more processes."""

_SILENT_S = 30.0
"""A process that is disconnected for this time is killed; its nanny starts another."""


class LocalFleet:
    """Monitors the nannies of a LocalCluster, which run in this process.

    A nanny replaces a process that dies. But a process that closes gracefully ends its nanny, and a process that has
    left the scheduler may be kept alive by a thread: neither would be replaced.
    """

    patience_s = 0.0

    def __init__(self, cluster: Any, size: int, log: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._size = size
        self._log = log
        self._missed: dict[str, float] = {}
        self._known: set[str] = set()

    def tend(self, connected: Collection[str], enough: bool) -> None:  # noqa: ARG002 the number is fixed
        """Start missing workers, and kill processes that have been disconnected for long."""
        for name in [n for n, nanny in self._cluster.workers.items() if nanny.status in _GONE]:
            self._cluster.loop.add_callback(self._cluster.workers.pop, name, None)
        self._cluster.scale(self._size)  # starts missing ones
        now = time.monotonic()
        self._known |= set(connected)
        nannies = {str(name): nanny for name, nanny in self._cluster.workers.items()}
        silent = {name for name in self._known & set(nannies) if name not in connected}
        self._missed = {name: self._missed.get(name, now) for name in silent}
        for name, since in list(self._missed.items()):
            if now - since > _SILENT_S:
                self._missed[name] = now  # a new process takes a while to connect
                self._kill(name, nannies[name])

    def _kill(self, name: str, nanny: Any) -> None:
        pid = nanny.pid
        self._log(f"worker {name} (process {pid}) disconnected without ending: killed, will be replaced")
        with contextlib.suppress(OSError, TypeError):
            os.kill(pid, signal.SIGKILL)

    def departure(self, worker: str) -> str | None:  # noqa: ARG002 the same for all
        """Return None: no infrastructure ends a local process."""
        return None

    def avoid(self, host: str) -> bool:  # noqa: ARG002 there is one machine only
        """Return False: there is no other machine."""
        return False

    def give_up(self, worker: str) -> None:
        """Do nothing: ``tend`` kills processes that are disconnected for long."""

    def close(self) -> None:
        """Do nothing: the cluster ends its processes."""
