"""Everything in this process, one job after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from ssi_pipeline.executors.base import Completed
from ssi_pipeline.storage.state.compute import Compute
from ssi_pipeline.storage.state.records import Job
from ssi_pipeline.tasks import RunSpec, execute
from ssi_pipeline.tasks.ability import Ability, ability


class SerialExecutor:
    """Runs a batch each time that ``completed`` is called."""

    slots = 1

    def __init__(self, spec: RunSpec) -> None:
        self._spec = spec
        self._queue: deque[tuple[Job, ...]] = deque()

    @property
    def pending(self) -> int:
        """Number of jobs submitted and not yet back."""
        return sum(len(jobs) for jobs in self._queue)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Put a batch at the end of the queue."""
        self._queue.append(tuple(jobs))

    def completed(self, timeout: float) -> list[Completed]:  # noqa: ARG002 there is nobody to wait for
        """Run the batch at the head of the queue."""
        if not self._queue:
            return []
        jobs = self._queue[0]
        records = tuple(execute(self._spec, jobs))
        self._queue.popleft()
        return [Completed(jobs, records)]

    def abilities(self, stopped: Callable[[], bool]) -> list[Ability]:  # noqa: ARG002 there is nobody to wait for
        """Look at this process."""
        return [ability()]

    def use(self, compute: Compute) -> None:
        """Have every task from now on computed on this."""
        self._spec = replace(self._spec, compute=compute)

    def exclude(self, place: str) -> bool:  # noqa: ARG002 there is one only
        """There is no other worker."""
        return False

    def avoid(self, host: str) -> bool:  # noqa: ARG002 there is one machine only
        """Nothing else is there to take its place."""
        return False

    def withdraw(self) -> None:
        """Forget the queue: between two calls of ``completed`` nothing runs."""
        self._queue.clear()

    def close(self) -> None:
        """Forget what was not run."""
        self._queue.clear()
