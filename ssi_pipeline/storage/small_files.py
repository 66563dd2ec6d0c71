"""Read small files that another machine may replace this very moment."""

from __future__ import annotations

import errno
import time
from pathlib import Path

_TRIES = 4
_PAUSE_S = 0.1


def read_small(path: Path) -> bytes:
    """Return a file's content; tried again where the file was replaced between its opening and its reading.

    Network file systems call that a stale handle (ESTALE). The name is looked up anew, and is the new file's. A mount
    that is gone for good says the same each time.
    """
    for _ in range(_TRIES - 1):
        try:
            return path.read_bytes()
        except OSError as problem:
            if problem.errno != errno.ESTALE:
                raise
            time.sleep(_PAUSE_S)
    return path.read_bytes()
