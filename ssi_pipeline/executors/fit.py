"""Select the workers of a dask cluster that can run the tasks: all are queried first, unsuitable ones are excluded.

A host that fails every task (for instance a missing mount) is suspended, for longer each time, and then used again.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.executors.watch import SeenWorker
from ssi_pipeline.tasks.ability import Ability, ability

_ANSWER_S = 300.0
"""Timeout of a query: importing torch from a slow network, on all workers at once, takes minutes."""

_STRAGGLER_S = 15.0
"""Time that the other workers have after the first answer."""

_POLL_S = 0.1

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 60.0, 3600.0


class FitWorkers:
    """Keeps the excluded workers, by address; a process that replaces one has another address."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}
        self._excluded: set[str] = set()
        self._suspended: dict[str, float] = {}
        self._pauses: Counter[str] = Counter()

    def note(self, place: str, addresses: Iterable[str]) -> None:
        """Store the address of a worker, which tasks know as host:pid."""
        for address in addresses:
            self._places[place] = address

    def address(self, place: str) -> str | None:
        """Return the address of a worker; None while it is unknown."""
        return self._places.get(place)

    def exclude(self, place: str) -> None:
        """Exclude a worker."""
        if place in self._places:
            self._excluded.add(self._places[place])

    def of(self, workers: Iterable[SeenWorker]) -> list[SeenWorker]:
        """Return those that are neither excluded nor suspended."""
        now = time.monotonic()
        return [w for w in workers if w.address not in self._excluded and self._suspended.get(w.address, now) <= now]

    def suspend(self, host: str, workers: Sequence[SeenWorker]) -> bool:
        """Suspend the workers of a host, unless there are no others; returns whether it was suspended."""
        own = {address for place, address in self._places.items() if place.rpartition(":")[0] == host}
        if not own or all(worker.address in own for worker in self.of(workers)):
            return False
        seconds = min(_FIRST_PAUSE_S * 2.0 ** self._pauses[host], _LONGEST_PAUSE_S)
        self._pauses[host] += 1
        self._suspended.update(dict.fromkeys(own, time.monotonic() + seconds))
        return True

    def restriction(self, workers: Sequence[SeenWorker]) -> Mapping[str, Any]:
        """Return the options of dask's ``submit``: none if all workers are suitable, so that dask queues the tasks."""
        fit = self.of(workers)
        if len(fit) == len(workers) or not fit:
            return {}
        # allow other workers, or a task would wait for ever once the listed ones have left
        return {"workers": [worker.address for worker in fit], "allow_other_workers": True}

    def ask(self, client: Client, workers: Sequence[SeenWorker], stopped: Callable[[], bool]) -> list[Ability]:
        """Query device and precision of each worker; returns the answers that arrived in time.

        Raises
        ------
        ExecutorError
            No worker can run this package.
        """
        asked = {w.address: _asked(client, w.address) for w in self.of(workers)}
        _wait(list(asked.values()), stopped)
        found, problem = [], None
        for address, future in asked.items():
            if future.status == "finished":
                answer: Ability = future.result(timeout=30)
                self.note(answer.place, [address])
                found.append(answer)
            elif future.status == "error" and not isinstance(error := future.exception(timeout=30), KilledWorker):
                problem = f"{address}: {type(error).__name__}: {error}"
        client.cancel(list(asked.values()), force=True)
        if problem and not found:
            raise ExecutorError(f"the workers cannot run this package; the last error, {problem}")
        return found


def _asked(client: Client, address: str) -> Future[Any]:
    return client.submit(ability, workers=[address], key=f"ability-{uuid.uuid4()}", pure=False)


def _wait(futures: Sequence[Future[Any]], stopped: Callable[[], bool]) -> None:
    until = time.monotonic() + _ANSWER_S
    while time.monotonic() < until and not stopped() and not all(future.done() for future in futures):
        if any(future.status == "finished" for future in futures):
            until = min(until, time.monotonic() + _STRAGGLER_S)
        time.sleep(_POLL_S)
