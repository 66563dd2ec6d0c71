"""Robust reads of small files that another machine may be replacing."""

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
    """Return a file's content; retry if the file is replaced between opening and reading.

    Network file systems report this as a stale handle (ESTALE); the retry opens the new file. A lost mount gives the
    same error each time.
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
    """Parse a JSON file of a run.

    If another machine replaced it by a longer one, a cached file size (sshfs, 20 s) truncates the content. Setting the
    unchanged file mode invalidates that cache.

    Raises
    ------
    ValueError
        It is not JSON, also after invalidating the cache.
    """
    try:
        return json.loads(read_small(path))
    except ValueError:
        with contextlib.suppress(OSError):  # no permission: then the content is final
            os.chmod(path, stat.S_IMODE(path.stat().st_mode))
        return json.loads(read_small(path))
