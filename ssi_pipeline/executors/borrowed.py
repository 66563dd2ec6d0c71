"""Fleet of another executor, for a run that uses its workers beside others."""

from __future__ import annotations

from collections.abc import Collection

from ssi_pipeline.executors.base import Workers


class BorrowedFleet:
    """Answers for the fleet of another executor, which replaces lost workers and releases all at the end."""

    def __init__(self, fleet: Workers) -> None:
        self._fleet = fleet

    @property
    def patience_s(self) -> float:
        """Seconds until the reason for the loss of a worker is known."""
        return self._fleet.patience_s

    def tend(self, connected: Collection[str], enough: bool) -> None:
        """Do nothing: the owner replaces lost workers."""

    def departure(self, worker: str) -> str | None:
        """Return what ended a lost worker; None where its process died, perhaps because of its task."""
        return self._fleet.departure(worker)

    def avoid(self, host: str) -> bool:
        """Exclude a machine; returns whether others are available."""
        return self._fleet.avoid(host)

    def give_up(self, worker: str) -> None:
        """Kill the process or job of a worker that does not respond."""
        self._fleet.give_up(worker)

    def close(self) -> None:
        """Do nothing: the owner releases its workers."""
