"""One run at a time on one output, whatever state folders the runs have and from wherever they are started.

The locks in a state folder keep the clients of one run apart. Two state folders know nothing of each other, so every
client also has a lease beside the output, in its parent folder, which is one and the same folder by any mount
or link:

    .out.zarr.lock          held for the moment in which the leases are looked at and a new one is added
    .out.zarr.HEX.lease     one for each client at work: a run, a finish, each part

A lease names the lock that its holder has in its state folder, and that lock's token. Who finds that very lock in
the state folder of its own sees a part of the same run, which it may work beside; any other client that lives is a
foreign writer. Paths are not compared: they differ from mount to mount, and a state folder may be a copy.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from ssi_pipeline.errors import LockedError, OutputError
from ssi_pipeline.storage.state.lease_file import Holder, read_holder
from ssi_pipeline.storage.state.lock import Held as HeldLock
from ssi_pipeline.storage.state.lock import Lease, Say, clear_stale, look_at_lock, run_lock

_LEASE = re.compile(r"\..+\.([0-9a-f]{16})\.lease")
_GUARD = re.compile(r"(lock(?:-part-[0-9]+-of-[0-9]+)?) ([0-9a-f]+)")


class Held(Protocol):
    """One lock or several that are held."""

    def check(self) -> None:
        """Make sure that they are; raises LockLostError."""


class Leases:
    """The lock of a state folder and the lease of its output, held together."""

    def __init__(self, state: Lease, output: Lease) -> None:
        self.state, self.output = state, output

    def check(self) -> None:
        """Make sure that all are still held.

        Raises
        ------
        LockLostError
            Another client has taken one of them over.
        """
        self.state.check()
        self.output.check()


@contextmanager
def output_lease(output: Path, state: Path, guard: Lease, purpose: str, say: Say | None = None) -> Iterator[Lease]:
    """Hold the lease of an output; ``guard`` is the lock of the run, or of the part, in the state folder ``state``.

    Raises
    ------
    LockedError
        A client with another state folder works on this output.
    OutputError
        The folder of the output cannot be made or written to.
    """
    place = output.resolve()
    with ExitStack() as stack:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            gate = run_lock(place.with_name(f".{place.name}.lock"), f"the start of {purpose}", say, lambda _: True)
            with gate:
                _refuse_foreign(place, state, say)
                name = f".{place.name}.{secrets.token_hex(8)}.lease"
                text = f"{purpose}, state in {state}"
                lease = stack.enter_context(run_lock(place.with_name(name), text, say, guard=guard.guard))
        except (LockedError, OutputError):
            raise
        except OSError as error:
            raise OutputError(
                f"{output} cannot be locked: {error}; choose an output.path whose folder can be written to"
            ) from error
        yield lease


def _refuse_foreign(output: Path, state: Path, say: Say | None) -> None:
    """Remove the leases of clients that were killed.

    Raises
    ------
    LockedError
        One of another state folder lives.
    """
    foreign = [path for path in _leases(output) if not _has_its_lock_in(state, read_holder(path))]
    if not foreign:
        return
    # side by side: each lease of another machine has to be watched for a minute
    with ThreadPoolExecutor(len(foreign)) as threads:
        holders = list(threads.map(lambda path: clear_stale(path, say), foreign))
    for path, holder in zip(foreign, holders, strict=True):
        if holder is not None and not _has_its_lock_in(state, read_holder(path)):
            raise LockedError(
                f"another run works on this output ({holder}): wait for it, or end it; then run the same command again"
            )


def holder_of(output: Path) -> HeldLock | None:
    """Return who seems to work on an output, at once; None where nobody does, or it cannot be told."""
    try:
        found = [held for path in _leases(output.resolve()) if (held := look_at_lock(path)) is not None]
    except OSError:
        return None
    return found[0] if found else None


def _leases(output: Path) -> list[Path]:
    """Return the leases of an output, also where another client wrote its name in another case."""
    found = []
    for entry in output.parent.iterdir():
        match = _LEASE.fullmatch(entry.name)
        own = output.with_name(f".{output.name}.{match[1]}.lease") if match else entry
        # on a file system that tells no case apart, the other's lease is there under this name too
        if match and (own.name == entry.name or own.exists()):
            found.append(own)
    return found


def _has_its_lock_in(state: Path, holder: Holder | None) -> bool:
    """Tell whether the holder of a lease works with this very state folder; one that is gone is no stranger."""
    if holder is None:
        return True
    match = _GUARD.fullmatch(holder.guard)
    lock = read_holder(state / match[1]) if match else None
    return lock is not None and match is not None and lock.token == match[2]
