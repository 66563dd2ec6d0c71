"""Tasks lost with their worker in one call of a run; the ledger has no records of them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class LostTasks:
    """``times``: losses of each task, by key. ``preempted``: losses caused by preemption or the infrastructure."""

    times: dict[str, int] = field(default_factory=dict)
    preempted: int = 0
    last_reason: str = ""

    def note(self, key: str, why: str, preempted: bool = False) -> None:
        """Count a task that was lost with its worker; ``preempted``: the infrastructure ended the worker."""
        self.times[key] = self.times.get(key, 0) + 1
        self.preempted += preempted
        self.last_reason = why
