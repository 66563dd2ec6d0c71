"""What happened in one call of a run and stands in no record: tasks that went down with their worker."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """``lost_by_key``: times that each task was lost. ``excused``: losses not held against a task, of them all."""

    lost_by_key: dict[str, int] = field(default_factory=dict)
    excused: int = 0
    last_reason: str = ""

    def lost(self, key: str, why: str, excused: bool = False) -> None:
        """Count a task that went down with its worker; excused: announced, as by the end of a job's time."""
        self.lost_by_key[key] = self.lost_by_key.get(key, 0) + 1
        self.excused += excused
        self.last_reason = why
