"""Lease file of a lock and its operations. No file system locks are used.

This relies only on operations that are atomic on every file system: ``link`` creates a name once, ``rename`` moves a
file once. A renewal writes to the open file in which it read its own token, so that a holder that was suspended and
lost its lease cannot overwrite its successor's.
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
    """Holder of a lock and its purpose; ``counter`` increases with every renewal. An unreadable file has no token.

    ``guard``: for the lease of an output, name and token of the holder's lock in the state folder.
    """

    token: str
    purpose: str
    process: Process
    counter: int = 0
    guard: str = ""

    def __str__(self) -> str:
        """Describe the holder, for messages."""
        if not self.token:
            return "its file cannot be read"
        return f"process {self.process.pid} on {self.process.host}: {self.purpose}"

    def to_bytes(self) -> bytes:
        """Return the file's content, of a length independent of the counter."""
        return json.dumps({**asdict(self), "counter": f"{self.counter:012d}"}).encode()


def read_holder(path: Path) -> Holder | None:
    """Return the holder of a lock, or None without a file."""
    try:
        return parse_holder(read_small(path))
    except FileNotFoundError:
        return None


def parse_holder(content: bytes) -> Holder:
    """Return the holder in a file's content, one without a token if it is none."""
    try:
        document = json.loads(content)
        process = Process(**document["process"])
        guard = str(document.get("guard", ""))
        return Holder(str(document["token"]), str(document["purpose"]), process, int(document["counter"]), guard)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Holder("", "", _NOBODY)


def create(path: Path, holder: Holder) -> bool:
    """Create the file atomically; return whether it is ours."""
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
        # a network file system may report an error of a successful call if the first reply was lost
        return _is_held_by(path, holder.token)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise
        return False  # deleted by the clean-up of another starting client
    except OSError:
        found = read_holder(path)
        if found is None:
            return _create_without_link(path, holder)
        return found.token == holder.token  # SFTP servers report an existing name as "not permitted"
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
    """Write a new counter; return False if the file belongs to another holder.

    Raises
    ------
    FileNotFoundError
        It is missing or being restored; ``is_held`` distinguishes the two.
    """
    with path.open("r+b", buffering=0) as stream:
        if parse_holder(stream.read()).token != holder.token:
            return False
        os.pwrite(stream.fileno(), holder.to_bytes(), 0)
        os.fsync(stream.fileno())
        return True


def is_held(path: Path, holder: Holder, settle: float) -> bool:
    """Tell whether a holder still has its lock; ``settle``: seconds until a file moved by mistake is restored.

    A holder never restores its file itself: a successor may have existed meanwhile.
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
    """Remove the file if it has this token; of several callers, one gets True.

    The file may change hands between reading and removing. So the file is moved first, checked again, and restored if
    it has another token.
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
    # overwrites a new holder: while such a file exists, newcomers wait and check again
    with contextlib.suppress(FileNotFoundError):  # deleted by the clean-up of a starting run
        private.replace(path)
    return False


def is_being_moved(path: Path) -> bool:
    """Tell whether a client may be restoring a file."""
    return any(path.parent.glob(f".{glob.escape(path.name)}.*.taken.partial"))


def age_seconds(path: Path) -> float | None:
    """Return the time since the last renewal by the file server's clock, or None if unknown."""
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
        return  # a read-only folder


def _private(path: Path, use: str) -> Path:
    """Return a private name; leftovers are deleted at the start of a run by their suffix."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.{use}.partial")
