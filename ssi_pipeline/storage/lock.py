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
from typing import TextIO

from ssi_pipeline.errors import LockedError

_TRIES = 10


@contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; the system gives it back when the process ends, however it ends.

    Raises
    ------
    LockedError
        Another process holds it.
    """
    with path.open("a+") as stream:
        _acquire(stream, path)
        stream.seek(0)
        stream.truncate()
        json.dump({"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}, stream)
        stream.flush()
        yield


def _acquire(stream: TextIO, path: Path) -> None:
    """Try for a second: a glance of `ssi status` at the lock must not stop a run from starting."""
    for attempt in range(_TRIES):
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if attempt + 1 < _TRIES:
                time.sleep(1.0 / _TRIES)
        except OSError as error:
            raise LockedError(
                f"the file system of {path} knows no locks ({error}): set output.state to a folder that does"
            ) from error
    raise LockedError(
        f"another run works on this output ({_holder(path)}): wait for it, or end it; then run the same command again"
    )


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
