"""What happened in one call of a run and stands in no record: tasks that went down with their worker."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class LostTasks:
    """``times``: how often each task was lost, by its key. ``excused``: losses not held against a task, of them all."""

    times: dict[str, int] = field(default_factory=dict)
    excused: int = 0
    last_reason: str = ""

    def note(self, key: str, why: str, excused: bool = False) -> None:
        """Count a task that went down with its worker; excused: by no fault of its own, as by preemption."""
        self.times[key] = self.times.get(key, 0) + 1
        self.excused += excused
        self.last_reason = why
