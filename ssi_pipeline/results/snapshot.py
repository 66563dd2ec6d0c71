"""Snapshot of the progress of a running client, stored in the state folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


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


def read_snapshot(path: Path) -> Snapshot | None:
    """Return the last snapshot of a running client, None if there is none."""
    try:
        return Snapshot(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
