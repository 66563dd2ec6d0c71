"""The progress of a running client, as its small file in the state folder has it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State of a run at one moment; ``rate`` in units a second, ``left_s`` in seconds, None while unknown."""

    stage: str
    done: int
    total: int
    failed: int
    running: int
    rate: float | None
    left_s: float | None
    time: float


def read_snapshot(path: Path) -> Snapshot | None:
    """Return what a running client last wrote, None where there is nothing to read."""
    try:
        return Snapshot(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
