"""The file that says who holds a lock, and the few things that may be done to it. No file system locks.

Only what every file system does atomically is relied on: a name is made once (``link``), and ``rename`` moves one
file once. A renewal writes into the file that it has read its own token from, so that a holder who slept through
the loss of its lease cannot write over its successor's.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ssi_pipeline.storage.small_files import read_small
from ssi_pipeline.storage.state.process import Process

_NOBODY = Process("an unknown machine", "", "", 0, "")


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock and what for; ``counter`` grows with every renewal. An unreadable file has no token.

    ``guard``: of the lease of an output, the name and token of the lock in the state folder that its holder has too.
    """

    token: str
    purpose: str
    process: Process
    counter: int = 0
    guard: str = ""

    def __str__(self) -> str:
        """Return who it is, for messages."""
        if not self.token:
            return "its file cannot be read"
        return f"process {self.process.pid} on {self.process.host}: {self.purpose}"

    def to_bytes(self) -> bytes:
        """Return the file's content; its length does not depend on the counter."""
        return json.dumps({**asdict(self), "counter": f"{self.counter:012d}"}).encode()


def read_holder(path: Path) -> Holder | None:
    """Return who holds a lock, None where there is no file."""
    try:
        return _parse(read_small(path))
    except FileNotFoundError:
        return None


def _parse(content: bytes) -> Holder:
    try:
        document = json.loads(content)
        process = Process(**document["process"])
        guard = str(document.get("guard", ""))
        return Holder(str(document["token"]), str(document["purpose"]), process, int(document["counter"]), guard)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Holder("", "", _NOBODY)


def create(path: Path, holder: Holder) -> bool:
    """Make the file, whole from its first moment; tells whether it is ours."""
    private = _private(path, "new")
    try:
        _write(private, "wb", holder)
        return _link(private, path, holder)
    finally:
        _try_unlink(private)


def _link(private: Path, path: Path, holder: Holder) -> bool:
    try:
        os.link(private, path)
    except FileExistsError:
        # a network file system may report failure of what it did when the first answer was lost
        return _is_held_by(path, holder.token)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise
        return False  # another client, starting, swept our private file away
    except OSError:
        found = read_holder(path)
        if found is None:
            return _create_without_link(path, holder)
        return found.token == holder.token  # SFTP servers call a name that is taken "not permitted"
    return True


def _create_without_link(path: Path, holder: Holder) -> bool:
    """For file systems without hard links; a reader may see the file before its content."""
    try:
        _write(path, "xb", holder)
    except FileExistsError:
        return False
    except PermissionError:
        found = read_holder(path)
        if found is None:
            raise
        return found.token == holder.token  # as above
    return True


def _write(path: Path, mode: Literal["wb", "xb"], holder: Holder) -> None:
    with path.open(mode) as stream:
        stream.write(holder.to_bytes())
        stream.flush()
        os.fsync(stream.fileno())


def renew(path: Path, holder: Holder) -> bool:
    """Write a holder with a new counter; returns False where the file has become another's.

    Raises
    ------
    FileNotFoundError
        It is gone, or being put back: ``is_held`` tells which.
    """
    with path.open("r+b", buffering=0) as stream:
        if _parse(stream.read()).token != holder.token:
            return False
        os.pwrite(stream.fileno(), holder.to_bytes(), 0)
        os.fsync(stream.fileno())
        return True


def is_held(path: Path, holder: Holder, settle: float) -> bool:
    """Tell whether a lock is still a holder's; ``settle``: seconds within which one moved by mistake is put back.

    A holder never puts its file back itself: a successor may have come, and gone.
    """
    found = read_holder(path)
    if found is None:
        time.sleep(settle)
        found = read_holder(path)
    return found is not None and found.token == holder.token


def _is_held_by(path: Path, token: str) -> bool:
    found = read_holder(path)
    return found is not None and found.token == token


def remove(path: Path, token: str) -> bool:
    """Remove the file if it is the one with this token; of several that try, one is told True.

    Reading and removing are two steps, between which the file may have become another's. So what was moved is
    looked at once more, and put back if it is not what was meant.
    """
    private = _private(path, "taken")
    if not _is_held_by(path, token):
        return False
    try:
        path.rename(private)
    except FileNotFoundError:
        return False
    if _is_held_by(private, token):
        private.unlink(missing_ok=True)
        return True
    # over whoever came meanwhile: as long as a file lies under such a name, newcomers wait and look again
    with contextlib.suppress(FileNotFoundError):  # a run that started has swept it away
        private.replace(path)
    return False


def is_being_moved(path: Path) -> bool:
    """Tell whether some client may be about to put a file back."""
    return any(path.parent.glob(f".{glob.escape(path.name)}.*.taken.partial"))


def age_seconds(path: Path) -> float | None:
    """Return the time since the last renewal by the clock of the file server alone; None where it cannot be told."""
    probe = _private(path, "probe")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except OSError:
        return None
    finally:
        _try_unlink(probe)


def _try_unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # a folder that may only be read


def _private(path: Path, use: str) -> Path:
    """A name of our own; leftovers are swept at the start of a run by their ending."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.{use}.partial")
