"""Run all jobs in this process, one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.executors.base import LOST_GPU, Completed
from ssi_pipeline.storage.state.compute import Compute
from ssi_pipeline.storage.state.records import Job
from ssi_pipeline.tasks import RunSpec
from ssi_pipeline.tasks.ability import Ability, ability
from ssi_pipeline.tasks.execute import execute


class SerialExecutor:
    """Runs one batch in each call of ``completed``."""

    slots = 1

    def __init__(self, spec: RunSpec) -> None:
        self._spec = spec
        self._queue: deque[tuple[Job, ...]] = deque()
        self._lost: str | None = None

    @property
    def pending(self) -> int:
        """Number of jobs submitted and not yet returned."""
        return sum(len(jobs) for jobs in self._queue)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Append a batch to the queue."""
        self._queue.append(tuple(jobs))

    def completed(self, timeout: float) -> list[Completed]:  # noqa: ARG002 nothing to wait for
        """Run the first batch of the queue.

        Raises
        ------
        ExecutorError
            This process cannot use its GPU any more; what it has done is recorded.
        """
        if not self._queue:
            return []
        if self._lost is not None:
            raise ExecutorError(f"this process: {LOST_GPU} ({self._lost}); run again to resume")
        jobs = self._queue[0]
        records = tuple(execute(self._spec, jobs))
        self._queue.popleft()
        self._lost = next((record.error for record in records if record.of_lost_process), None)
        return [Completed(jobs, records)]

    def abilities(self, stopped: Callable[[], bool]) -> list[Ability]:  # noqa: ARG002 nothing to wait for
        """Return the ability of this process."""
        return [ability()]

    def use(self, compute: Compute) -> None:
        """Set device and precision of all further tasks."""
        self._spec = replace(self._spec, compute=compute)

    def exclude(self, place: str) -> bool:  # noqa: ARG002 there is only one
        """Return False: there is no other worker."""
        return False

    def avoid(self, host: str) -> bool:  # noqa: ARG002 there is one machine only
        """Return False: there is no other machine."""
        return False

    def withdraw(self) -> None:
        """Clear the queue: nothing runs between two calls of ``completed``."""
        self._queue.clear()

    def close(self) -> None:
        """Clear the queue."""
        self._queue.clear()
