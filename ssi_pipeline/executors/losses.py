"""Batches that were lost with their worker, until it is known whether only a process died or its whole SLURM job."""

from __future__ import annotations

import math
import time
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any

from ssi_pipeline.executors.base import Workers
from ssi_pipeline.executors.slurm.commands import SlurmUnreachableError

_ASK_SECONDS = 1.0
"""Shortest interval between queries to SLURM's controller, which serves a whole site."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A batch, by its key, that was lost with a worker; ``job_ended``: with the whole job, by no fault of the batch."""

    key: Any
    worker: str
    why: str
    since: float
    job_ended: bool = False


class UndecidedLosses:
    """Losses of unknown cause; without a fleet the cause is known at once."""

    def __init__(self, fleet: Workers | None) -> None:
        self._fleet = fleet
        self._losses: list[Loss] = []
        self._asked = -math.inf

    @property
    def keys(self) -> set[Any]:
        """Keys of the batches."""
        return {loss.key for loss in self._losses}

    def add(self, key: Any, worker: str, why: str) -> None:
        """Note a batch whose worker died."""
        self._losses.append(Loss(key, worker, why, time.monotonic()))

    def decide(self, pending: Container[Any], names: Iterable[str], looked: float) -> list[Loss]:
        """Remove and return the losses whose cause is known.

        Parameters
        ----------
        pending
            Keys of the batches that are still wanted; others are forgotten.
        names
            Workers that were connected at the time ``looked``, of the monotonic clock.
        looked
            When they were.
        """
        if not self._losses or time.monotonic() - self._asked < _ASK_SECONDS:
            return []
        decided, waiting, connected = [], [], set(names)
        losses = [loss for loss in self._losses if loss.key in pending]
        departures = {worker: self._departure(worker) for worker in dict.fromkeys(loss.worker for loss in losses)}
        patience = self._fleet.patience_s if self._fleet else 0.0
        for loss in losses:
            how = departures[loss.worker]
            is_back = looked > loss.since and loss.worker in connected
            if how is not None:
                decided.append(Loss(loss.key, loss.worker, f"its worker's job is {how}", loss.since, job_ended=True))
            elif time.monotonic() - loss.since < patience and not is_back:
                # a node without power counts as running for minutes; a process that died alone is restarted soon
                waiting.append(loss)
            else:
                decided.append(loss)
        self._losses, self._asked = waiting, time.monotonic()
        return decided

    def _departure(self, worker: str) -> str | None:
        if self._fleet is None:
            return None
        try:
            return self._fleet.departure(worker)
        except SlurmUnreachableError:
            return "unknown (SLURM does not answer)"
