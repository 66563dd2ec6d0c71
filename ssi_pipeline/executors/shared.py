"""Workers that several runs use at a time: started once, with the first task, and tended until the last run ends."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ssi_pipeline.config import ExecutorConfig
from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.executors.base import Executor
from ssi_pipeline.executors.gpus.sharing import known_device
from ssi_pipeline.executors.machine import worker_count
from ssi_pipeline.executors.open import open_executor
from ssi_pipeline.tasks import RunSpec

if TYPE_CHECKING:
    from ssi_pipeline.executors.dask import DaskExecutor

_TEND_S = 1.0
_ENOUGH = 16
"""Most runs at a time: more would keep no worker busier, as each queues several tasks per worker."""


class SharedWorkers:
    """Workers of several runs; those of a serial executor are the client itself, and serve one run at a time.

    Parameters
    ----------
    section
        The executor.
    state
        Folder for files of the workers.
    log
        Receives messages about them.
    """

    def __init__(self, section: ExecutorConfig, state: str, log: Callable[[str], None]) -> None:
        device = known_device(section)
        self._section = section if device is None else section.resolved(device)
        # in the names of all tasks: a scheduler started elsewhere may have those of other clients
        self._spec, self._log = RunSpec(state, secrets.token_hex(8)), log
        self._opening, self._closed = threading.Lock(), threading.Event()
        self._owner: DaskExecutor | None = None
        self._tending: threading.Thread | None = None

    @property
    def runs(self) -> int:
        """Number of runs at a time that keep the workers busy, also where each has one tile."""
        return 1 if self._section.kind == "serial" else min(2 * worker_count(self._section) + 1, _ENOUGH)

    def open(self, section: ExecutorConfig, spec: RunSpec, log: Callable[[str], None]) -> Executor:
        """Return an executor for one run, on workers that all have in common; thread-safe.

        Raises
        ------
        ExecutorError
            They cannot be started.
        """
        if self._section.kind == "serial":
            return open_executor(section, spec, log)
        from ssi_pipeline.executors.watch import TimeLimit

        with self._opening:
            if self._owner is None:
                self._owner = self._start()
        return self._owner.beside(spec, TimeLimit(section.tile_limit_s), log)

    def _start(self) -> DaskExecutor:
        owner: Any = open_executor(self._section, self._spec, self._log)
        self._tending = threading.Thread(target=self._tend, args=(owner,), name="tend workers", daemon=True)
        self._tending.start()
        found: DaskExecutor = owner
        return found

    def _tend(self, owner: DaskExecutor) -> None:
        """Replace lost workers until the end; each run notices itself that the scheduler is gone."""
        with suppress(ExecutorError):
            while not self._closed.is_set():
                owner.completed(_TEND_S)

    def close(self) -> None:
        """Release the workers."""
        self._closed.set()
        if self._tending is not None:
            self._tending.join()
        if self._owner is not None:
            self._owner.close()
