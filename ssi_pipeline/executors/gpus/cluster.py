"""Local dask cluster whose workers each have their own environment, which selects their GPU."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from distributed import LocalCluster


class CardCluster(LocalCluster):
    """A cluster whose worker n has environment n modulo the number of environments, also after a restart.

    Names are numbers, and a lost worker is replaced under its name, so that the GPUs stay evenly used.
    """

    def __init__(self, environments: Sequence[Mapping[str, str]], **options: Any) -> None:
        self._environments = environments
        start: Any = super().__init__
        start(n_workers=0, **options)

    def close(self, timeout: float | None = None) -> Any:
        """Close in order, and kill the worker processes that are left after that time.

        On a busy machine dask gives up while a worker starts, and leaves its process. The signals that end a process
        are blocked in workers, so that the exit of this one would wait for it without end.
        """
        nannies: set[Any] = {*self.workers.values(), *self._created}  # a worker that starts is in the second alone
        try:
            return super().close(timeout)
        finally:
            for nanny in {*nannies, *self._created} if not self.asynchronous else ():
                _kill(nanny)

    def new_worker_spec(self) -> dict[Any, Any]:
        """Return the number and the start options of the next worker."""
        number = next(n for n in itertools.count() if n not in self.worker_spec)
        options = self.new_spec["options"]
        own = dict(self._environments[number % len(self._environments)])
        return {number: {**self.new_spec, "options": {**options, "env": {**(options.get("env") or {}), **own}}}}


def start_card_cluster(workers: int, environments: Sequence[Mapping[str, str]], **options: Any) -> Any:
    """Start the workers, and wait until each has connected or failed to start."""
    cluster: Any = CardCluster(environments, **options)
    try:
        cluster.scale(workers)
        cluster.sync(cluster._correct_state)
    except BaseException:
        cluster.close(timeout=10)
        raise
    return cluster


def _kill(nanny: Any) -> None:
    """Kill the process of a nanny, if there is one, so that no other is started in its place."""
    if (pid := nanny.pid) is not None:
        nanny.close_gracefully(reason="killed at the end")
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
