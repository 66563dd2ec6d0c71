"""Exclude workers that lack the device or precision of the run; their tasks are retried."""

from __future__ import annotations

from collections.abc import Callable

from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.executors import Executor

_FEWEST = 3
_SHOWN = 3


class UnfitWorkers:
    """Excludes workers that cannot run the tasks.

    ``what``: device and precision of the run, as text. ``most``: number of such workers in a row, without a finished
    task in between, that stops the run.
    """

    def __init__(self, executor: Executor, what: str, most: int, log: Callable[[str], None]) -> None:
        self._executor = executor
        self._what = what
        self._most = max(_FEWEST, most)
        self._log = log
        self._row: dict[str, str] = {}
        self._named: set[str] = set()

    def note(self, place: str, why: str) -> None:
        """Exclude a worker (host:pid).

        Raises
        ------
        ExecutorError
            No other worker is left, or too many in a row were excluded.
        """
        if place not in self._named:
            self._named.add(place)
            self._log(f"{place} excluded: it cannot compute on {self._what}: {why}")
        self._row[place] = why
        if not self._executor.exclude(place) or len(self._row) >= self._most:
            raise ExecutorError(self._explain())

    def done(self) -> None:
        """Count a finished task: some worker can run them."""
        self._row.clear()

    def _explain(self) -> str:
        found = [f"{place}: {why}" for place, why in list(self._row.items())[-_SHOWN:]]
        return (
            f"no worker can compute on {self._what}, which this run requires: {'; '.join(found)}. Resume where one "
            "can, or start over with `ssi run --new` and executor.device: cpu (or, if only bfloat16 is missing, "
            "training.precision: float32)"
        )
