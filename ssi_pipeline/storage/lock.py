"""One run at a time on one output."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ssi_pipeline.errors import LockedError


@contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; the system gives it back when the process ends, however it ends.

    Raises
    ------
    LockedError
        Another process holds it.
    """
    with path.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"another run works on this output ({_holder(path)}): wait for it, or end it; then run the "
                "same command again"
            ) from None
        stream.seek(0)
        stream.truncate()
        json.dump({"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}, stream)
        stream.flush()
        yield


def is_locked(path: Path) -> bool:
    """Tell whether some process holds the lock."""
    if not path.exists():
        return False
    with path.open("r") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return f"process {holder['pid']} on {holder['host']}"
    except (ValueError, KeyError):
        return "its process is just starting"
