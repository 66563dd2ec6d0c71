"""Local dask cluster whose workers each have their own environment, which selects their GPU."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from distributed import LocalCluster
from distributed.core import Status

_TRIES = 3


class CardCluster(LocalCluster):
    """A cluster whose worker n has environment n modulo the number of environments, also after a restart.

    Names are numbers, and a lost worker is replaced under its name, so that the GPUs stay evenly used.
    """

    def __init__(self, environments: Sequence[Mapping[str, str]], **options: Any) -> None:
        self._environments = environments
        start: Any = super().__init__
        try:
            start(n_workers=0, **options)
        except BaseException:
            self.status = Status.closed  # nothing was started that has to be closed
            raise

    def new_worker_spec(self) -> dict[Any, Any]:
        """Return the number and the start options of the next worker."""
        number = next(n for n in itertools.count() if n not in self.worker_spec)
        options = self.new_spec["options"]
        own = dict(self._environments[number % len(self._environments)])
        return {number: {**self.new_spec, "options": {**options, "env": {**(options.get("env") or {}), **own}}}}


def start_card_cluster(workers: int, environments: Sequence[Mapping[str, str]], **options: Any) -> Any:
    """Start the workers, and wait until each has connected or failed to start."""
    cluster: Any = _start_scheduler(environments, options)
    try:
        cluster.scale(workers)
        cluster.sync(cluster._correct_state)
    except BaseException:
        cluster.close(timeout=10)
        raise
    return cluster


def _start_scheduler(environments: Sequence[Mapping[str, str]], options: dict[str, Any]) -> CardCluster:
    """Start the scheduler; dask gives its thread 10 s, then fails an assertion: on a busy machine, try again.

    Raises
    ------
    TimeoutError
        Its thread did not start.
    """
    for _ in range(_TRIES - 1):
        with suppress(AssertionError):
            return CardCluster(environments, **options)
    try:
        return CardCluster(environments, **options)
    except AssertionError as error:
        why = f"dask's event loop did not start in {_TRIES} times 10 s: this machine does too much else"
        raise TimeoutError(why) from error
