"""Read small files that another machine may replace this very moment."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import time
from pathlib import Path
from typing import Any

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


def read_json(path: Path) -> Any:
    """Return what a JSON file of ours says.

    Where another machine has replaced it by a longer one, a cache that remembers the size of the old one (sshfs, 20 s)
    cuts it short. Setting its mode, to what it is, empties that cache.

    Raises
    ------
    ValueError
        It is no JSON, also when its size is asked for anew.
    """
    try:
        return json.loads(read_small(path))
    except ValueError:
        with contextlib.suppress(OSError):  # not ours to set: then it is what it seems to be
            os.chmod(path, stat.S_IMODE(path.stat().st_mode))
        return json.loads(read_small(path))
