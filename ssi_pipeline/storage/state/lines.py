"""Files of lines that are only appended: a kill or a full disk can leave the last one torn."""

from __future__ import annotations

import os
from pathlib import Path


def cut_torn_line(path: Path) -> None:
    """Cut off what follows the last newline, if the file exists."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("r+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        step = position = min(size, 1 << 16)
        while True:
            stream.seek(size - position)
            newline = stream.read(step).rfind(b"\n")
            if newline >= 0:
                stream.truncate(size - position + newline + 1)
                return
            if position == size:
                stream.truncate(0)
                return
            position = min(size, position + step)
