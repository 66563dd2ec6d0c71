"""The contract of an executor."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from ssi_pipeline.storage.state.compute import Compute
from ssi_pipeline.storage.state.records import Job, TaskRecord
from ssi_pipeline.tasks.ability import Ability


@dataclass(frozen=True, slots=True)
class Completed:
    """A batch that came back: its records, or why the batch was lost with its worker.

    ``excused``: it was lost by no fault of its jobs, for instance with a preempted worker.
    """

    jobs: tuple[Job, ...]
    records: tuple[TaskRecord, ...]
    lost: str | None = None
    excused: bool = False


class Workers(Protocol):
    """Looks after the processes or jobs that workers live in.

    ``patience_s``: how long it may take until it is known why a worker was lost.
    """

    @property
    def patience_s(self) -> float:
        """See above."""

    def tend(self, connected: Collection[str], enough: bool) -> None:
        """Replace what is gone; ``connected``: names of the workers there are, ``enough``: no more are needed."""

    def departure(self, worker: str) -> str | None:
        """Tell what ended a lost worker; None where it died by itself, perhaps of its task."""

    def avoid(self, host: str) -> bool:
        """Use a machine no more; tells whether there are others."""

    def give_up(self, worker: str) -> None:
        """End what a worker lives in, which does not react any more."""

    def close(self) -> None:
        """Give all of them back."""


class Executor(Protocol):
    """Runs batches of jobs, in any order and at any place.

    Every submitted batch comes back exactly once from ``completed``: marked as lost, or with a record for each
    job that was begun. A batch that takes long ends early, and the caller submits the rest again. Exceptions of
    a job are in its record; an executor raises ExecutorError only when it can run nothing more.
    """

    @property
    def slots(self) -> int:
        """Number of batches that run at the same time."""

    @property
    def pending(self) -> int:
        """Number of jobs submitted and not yet back."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take a batch; returns at once."""

    def completed(self, timeout: float) -> list[Completed]:
        """Return batches that came back; waits up to ``timeout`` seconds for the first."""

    def abilities(self, stopped: Callable[[], bool]) -> list[Ability]:
        """Ask the workers that are there what they can compute on; waits for the first, until ``stopped``."""

    def use(self, compute: Compute) -> None:
        """Have every task from now on computed on this."""

    def exclude(self, place: str) -> bool:
        """Give no more work to a worker (host:pid) that cannot do it; tells whether others are there, or may come."""

    def avoid(self, host: str) -> bool:
        """Give no work, for a while or for good, to a machine that fails every task; tells whether that is possible."""

    def withdraw(self) -> None:
        """Forget the batches that have not begun, as far as it is known; they do not come back."""

    def close(self) -> None:
        """Give up what still runs and free the workers."""
