"""Output lock: one run at a time per output, for any state folders and machines.

The locks in a state folder exclude clients of one run. Runs with different state folders do not see these, so every
client also holds a lease beside the output, in its parent folder, which is the same folder through any mount
or link:

    .out.zarr.lock          held while the leases are checked and a new one is added
    .out.zarr.HEX.lease     one per working client: a run, a finish, each part

In an object store these are objects, in ``.out.zarr.locks/``.

A lease contains name and token of its holder's lock in the state folder. A client that finds this lock in its own
state folder recognises a part of the same run, which may work concurrently; any other live client is a foreign writer.
Paths are not compared: they differ between mounts, and a state folder may be a copy.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import LockedError, OutputError, StoreError
from ssi_pipeline.storage.outputs.output_store import OutputStore, output_store
from ssi_pipeline.storage.state.lease_file import Holder, read_holder
from ssi_pipeline.storage.state.lock import Held as HeldLock
from ssi_pipeline.storage.state.lock import Lease, Say, clear_stale, look_at_lock, run_lock

_GUARD = re.compile(r"(lock(?:-part-[0-9]+-of-[0-9]+)?) ([0-9a-f]+)")


class Held(Protocol):
    """One or several held locks."""

    def check(self) -> None:
        """Check that they are still held; raise LockLostError otherwise."""


class Leases:
    """The lock of a state folder and the lease of its output, held together."""

    def __init__(self, state: Lease, output: Lease) -> None:
        self.state, self.output = state, output

    def check(self) -> None:
        """Check that all are still held.

        Raises
        ------
        LockLostError
            Another client took one over.
        """
        self.state.check()
        self.output.check()


@contextmanager
def output_lease(output: Place, state: Path, guard: Lease, purpose: str, say: Say | None = None) -> Iterator[Lease]:
    """Hold the lease of an output; ``guard`` is the lock of the run, or of the part, in the state folder ``state``.

    Raises
    ------
    LockedError
        A client with another state folder works on this output.
    OutputError
        The folder of the output cannot be created or written to.
    """
    place = output_store(output)
    with ExitStack() as stack:
        try:
            place.prepare_locks()
            with run_lock(place.gate(), f"the start of {purpose}", say, lambda _: True):
                _refuse_foreign(place, state, say)
                text = f"{purpose}, state in {state}"
                lease = stack.enter_context(run_lock(place.lease(secrets.token_hex(8)), text, say, guard=guard.guard))
        except (LockedError, OutputError, StoreError):
            raise
        except OSError as error:
            raise OutputError(f"cannot lock {output}: {error}; choose an output.path in a writable folder") from error
        yield lease


def _refuse_foreign(output: OutputStore, state: Path, say: Say | None) -> None:
    """Remove the leases of killed clients; refuse foreign ones.

    Raises
    ------
    LockedError
        A client of another state folder is alive.
    """
    foreign = [lease for lease in output.leases() if not _has_its_lock_in(state, lease.read())]
    if not foreign:
        return
    # in parallel: each lease of another machine is watched for a minute
    with ThreadPoolExecutor(len(foreign)) as threads:
        holders = list(threads.map(lambda lease: clear_stale(lease, say), foreign))
    for lease, holder in zip(foreign, holders, strict=True):
        if holder is not None and not _has_its_lock_in(state, lease.read()):
            raise LockedError(
                f"another run works on this output ({holder}): wait for it, or end it; then run the same command again"
            )


def holder_of(output: Place) -> HeldLock | None:
    """Return the likely holder of an output without waiting; None if there is none or it is unknown."""
    try:
        found = [held for lease in output_store(output).leases() if (held := look_at_lock(lease)) is not None]
    except OSError:
        return None
    return found[0] if found else None


def _has_its_lock_in(state: Path, holder: Holder | None) -> bool:
    """Tell whether the holder of a lease uses this state folder; a missing holder is not foreign."""
    if holder is None:
        return True
    match = _GUARD.fullmatch(holder.guard)
    lock = read_holder(state / match[1]) if match else None
    return lock is not None and match is not None and lock.token == match[2]
