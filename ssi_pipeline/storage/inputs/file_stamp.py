"""Identity of one file: its size, and a digest of its first and last bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssi_pipeline.config.fingerprint import short_digest

_ENDS = 64 * 1024


def file_stamp(path: Path) -> dict[str, Any]:
    """Return the file's size and the digest of its first and last 64 KiB, where formats keep their metadata."""
    size = path.stat().st_size
    with path.open("rb") as file:
        ends = file.read(_ENDS)
        file.seek(max(0, size - _ENDS))
        ends += file.read(_ENDS)
    return {"bytes": size, "metadata": {path.name: short_digest(ends)}}
