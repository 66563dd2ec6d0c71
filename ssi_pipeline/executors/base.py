"""Interfaces of executors and of worker fleets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ssi_pipeline.storage.state.compute import Compute
from ssi_pipeline.storage.state.records import Job, TaskRecord

if TYPE_CHECKING:
    from ssi_pipeline.tasks.ability import Ability

LOST_GPU = "after an error it cannot use its GPU any more"
"""Said of a process whose GPU context has died."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A finished batch: its records, or the reason why it was lost with its worker.

    ``preempted``: the worker was ended by the infrastructure, so the loss does not count against the jobs.
    """

    jobs: tuple[Job, ...]
    records: tuple[TaskRecord, ...]
    lost: str | None = None
    preempted: bool = False


class Workers(Protocol):
    """A fleet of worker processes or jobs.

    ``patience_s``: seconds until the reason for the loss of a worker is known.
    """

    @property
    def patience_s(self) -> float:
        """Seconds until the reason for the loss of a worker is known."""

    def tend(self, connected: Collection[str], enough: bool) -> None:
        """Replace lost workers; ``connected``: names of the connected ones, ``enough``: no more are needed."""

    def departure(self, worker: str) -> str | None:
        """Return what ended a lost worker; None where its process died, perhaps because of its task."""

    def avoid(self, host: str) -> bool:
        """Exclude a machine; returns whether others are available."""

    def give_up(self, worker: str) -> None:
        """Kill the process or job of a worker that does not respond."""

    def close(self) -> None:
        """Release all processes or jobs."""


class Executor(Protocol):
    """Runs batches of jobs, in any order and on any machine.

    Every submitted batch is returned exactly once by ``completed``: marked as lost, or with a record for each job that
    was started. A long batch ends early, and the caller submits the rest again. Exceptions of a job are in its record;
    an executor raises ExecutorError only when it cannot run any more jobs.
    """

    @property
    def slots(self) -> int:
        """Number of batches that run in parallel."""

    @property
    def pending(self) -> int:
        """Number of jobs submitted and not yet returned."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Submit a batch without waiting for it."""

    def completed(self, timeout: float) -> list[Completed]:
        """Return finished batches; waits up to ``timeout`` seconds for the first."""

    def abilities(self, stopped: Callable[[], bool]) -> list[Ability]:
        """Return the device and precision that each connected worker supports; waits for the first, or ``stopped``."""

    def use(self, compute: Compute) -> None:
        """Set device and precision of all further tasks."""

    def exclude(self, place: str) -> bool:
        """Exclude a worker (host:pid) that cannot run the tasks; returns whether others exist or may connect."""

    def avoid(self, host: str) -> bool:
        """Exclude a machine that fails every task, for a while or permanently; returns whether that is possible."""

    def withdraw(self) -> None:
        """Cancel the batches that have not started, as far as known; they are not returned."""

    def close(self) -> None:
        """Cancel running batches and release the workers."""
