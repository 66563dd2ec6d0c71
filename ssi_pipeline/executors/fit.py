"""Which workers of a dask cluster can do a run's work: all are asked before it begins, those that cannot get none.

A host that fails every task (its mount is gone) rests, for longer each time, and is tried again: mounts come back.
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
"""A worker that imports torch from a slow network, with all others, takes minutes."""

_STRAGGLER_S = 15.0
"""So long the others are waited for when the first has answered."""

_POLL_S = 0.1

_FIRST_REST_S, _LONGEST_REST_S = 60.0, 3600.0


class FitWorkers:
    """Remembers which workers are excluded, by address; a process that takes the place of one has another address."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}
        self._excluded: set[str] = set()
        self._resting: dict[str, float] = {}
        self._rests: Counter[str] = Counter()

    def note(self, place: str, addresses: Iterable[str]) -> None:
        """Learn at which address a worker is, of which tasks know host:pid."""
        for address in addresses:
            self._places[place] = address

    def exclude(self, place: str) -> None:
        """Give a worker no more work."""
        if place in self._places:
            self._excluded.add(self._places[place])

    def of(self, workers: Iterable[SeenWorker]) -> list[SeenWorker]:
        """Return those that are neither excluded nor resting."""
        now = time.monotonic()
        return [w for w in workers if w.address not in self._excluded and self._resting.get(w.address, now) <= now]

    def rest(self, host: str, workers: Sequence[SeenWorker]) -> bool:
        """Give the workers of a host nothing for a while; tells whether others are there, or else does not."""
        own = {address for place, address in self._places.items() if place.rpartition(":")[0] == host}
        if not own or all(worker.address in own for worker in self.of(workers)):
            return False
        seconds = min(_FIRST_REST_S * 2.0 ** self._rests[host], _LONGEST_REST_S)
        self._rests[host] += 1
        self._resting.update(dict.fromkeys(own, time.monotonic() + seconds))
        return True

    def restriction(self, workers: Sequence[SeenWorker]) -> Mapping[str, Any]:
        """Return the options of dask's ``submit``: none where all may work, as tasks without are queued better."""
        fit = self.of(workers)
        if len(fit) == len(workers) or not fit:
            return {}
        # others as well, or a task would wait for ever where those that may have it are gone
        return {"workers": [worker.address for worker in fit], "allow_other_workers": True}

    def ask(self, client: Client, workers: Sequence[SeenWorker], stopped: Callable[[], bool]) -> list[Ability]:
        """Ask each what it can compute on; returns the answers that came in time.

        Raises
        ------
        ExecutorError
            None can even run this package.
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
            raise ExecutorError(f"the workers cannot run this package; the last, {problem}")
        return found


def _asked(client: Client, address: str) -> Future[Any]:
    return client.submit(ability, workers=[address], key=f"ability-{uuid.uuid4()}", pure=False)


def _wait(futures: Sequence[Future[Any]], stopped: Callable[[], bool]) -> None:
    until = time.monotonic() + _ANSWER_S
    while time.monotonic() < until and not stopped() and not all(future.done() for future in futures):
        if any(future.status == "finished" for future in futures):
            until = min(until, time.monotonic() + _STRAGGLER_S)
        time.sleep(_POLL_S)
