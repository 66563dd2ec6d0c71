"""What a client that follows growing data last saw, in a file of the state folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ssi_pipeline.storage.atomic import write_json
from ssi_pipeline.storage.small_files import read_json


@dataclass(frozen=True, slots=True)
class Following:
    """State of following.

    ``frames``: time points that are complete and belong to the run. ``last``: when the last of them came, seconds since
    1970. ``ended``: why the acquisition is over, or empty. ``left_out``: what was there then, and was not complete.
    ``drift``: channels whose noise no longer is that of the first time points.
    """

    frames: int
    last: float
    ended: str = ""
    left_out: str = ""
    drift: tuple[str, ...] = ()

    def with_(self, **values: Any) -> Following:
        """Return the same with other values."""
        return replace(self, **values)

    def save(self, path: Path) -> None:
        """Write the file, atomically."""
        write_json(path, asdict(self))


def read_following(path: Path) -> Following | None:
    """Return what the file says; None if there is none, or it is damaged: nothing is decided by it."""
    try:
        found: dict[str, Any] = read_json(path)
        return Following(**{**found, "drift": tuple(found["drift"])})
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
