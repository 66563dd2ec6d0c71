"""Workers that cannot compute on what a run is computed on: named, left alone, and no tile is blamed for them."""

from __future__ import annotations

from collections.abc import Callable

from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.executors import Executor

_FEWEST = 3
_SHOWN = 3


class UnfitWorkers:
    """Takes work away from workers that cannot do it.

    ``what``: what the run is computed on, in words. ``most``: so many of them one after the other, with no task done
    in between, end the run, where others may come.
    """

    def __init__(self, executor: Executor, what: str, most: int, say: Callable[[str], None]) -> None:
        self._executor = executor
        self._what = what
        self._most = max(_FEWEST, most)
        self._say = say
        self._row: dict[str, str] = {}
        self._named: set[str] = set()

    def note(self, place: str, why: str) -> None:
        """A worker (host:pid) cannot do it.

        Raises
        ------
        ExecutorError
            There is no other, or none of many can.
        """
        if place not in self._named:
            self._named.add(place)
            self._say(f"{place} gets no more work, it cannot compute on {self._what}: {why}")
        self._row[place] = why
        if not self._executor.exclude(place) or len(self._row) >= self._most:
            raise ExecutorError(self._explain())

    def done(self) -> None:
        """Another one can."""
        self._row.clear()

    def _explain(self) -> str:
        found = [f"{place}: {why}" for place, why in list(self._row.items())[-_SHOWN:]]
        return (
            f"no worker can compute on {self._what}, as this run has to: {'; '.join(found)}. Resume where one can, or "
            "start over with `ssi run --new` and executor.device: cpu (lacks bfloat16: training.precision: float32)"
        )
