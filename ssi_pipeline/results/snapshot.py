"""Snapshots of progress; that of a running client is stored in the state folder."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

_RATE_SECONDS = 600.0
"""Window of the rate."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Progress of a run at one time; ``rate`` in units per second, ``left_s`` in seconds, None while unknown."""

    stage: str
    done: int
    total: int
    failed: int
    running: int
    rate: float | None
    left_s: float | None
    time: float


class Pace:
    """Progress of one stage, with its rate over the last ten minutes, as the number of workers changes."""

    def __init__(self, stage: str, done: int, total: int) -> None:
        self.stage, self._total = stage, total
        self._history = deque([(time.monotonic(), done)])

    @property
    def done(self) -> int:
        """Units done."""
        return self._history[-1][1]

    def snapshot(self, done: int, failed: int = 0, running: int = 0) -> Snapshot:
        """Note how far the stage is, and return it with rate and remaining time."""
        now = time.monotonic()
        if done != self.done:
            self._history.append((now, done))
        while len(self._history) > 2 and now - self._history[0][0] > _RATE_SECONDS:
            self._history.popleft()
        (first_time, first), (last_time, last) = self._history[0], self._history[-1]
        rate = (last - first) / (last_time - first_time) if last > first and last_time > first_time else None
        left = (self._total - done - failed) / rate if rate else None
        return Snapshot(self.stage, done, self._total, failed, running, rate, left, time.time())


def read_snapshot(path: Path) -> Snapshot | None:
    """Return the last snapshot of a running client, None if there is none."""
    try:
        return Snapshot(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
