"""Who may write: the state folder is ours and locked, and nobody else works on the output."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import LockedError, LockLostError, OutputError, SsiError
from ssi_pipeline.run.array.merge import settle_parts
from ssi_pipeline.storage.outputs.output_lock import Leases, output_lease
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.lease_file import Holder
from ssi_pipeline.storage.state.lock import Lease, Say, run_lock
from ssi_pipeline.storage.state.marker import StateFolder, claim_state_folder

_TRIES = 10

_REFUSED_WITHIN_S = 60.0
"""A client that finds the output held looks at one more file and ends; machines pause."""


@contextmanager
def hold_state(
    config: RunConfig,
    lock: Path,
    purpose: str,
    say: Say | None = None,
    wait_for: Callable[[Holder], bool] | None = None,
) -> Iterator[Lease]:
    """Make the state folder, or take the one that is ours, and hold one of its locks.

    What this call made of it goes again if it ends with an error before a run was begun there.

    Raises
    ------
    OutputError
        The folder is the user's, or cannot be made.
    LockedError
        Another client holds the lock.
    """
    paths = StatePaths(config.state_path)
    with ExitStack() as stack:
        folder, lease = _lock(stack, config, lock, purpose, say, wait_for)
        try:
            folder.keep()
            yield lease
        except BaseException:
            _undo(folder, paths, lease)
            raise


def _lock(
    stack: ExitStack,
    config: RunConfig,
    lock: Path,
    purpose: str,
    say: Say | None,
    wait_for: Callable[[Holder], bool] | None,
) -> tuple[StateFolder, Lease]:
    """Lock a folder that another client, which was refused or puts a run aside, may remove this very moment."""
    for _ in range(_TRIES):
        folder = claim_state_folder(config.state_path, config.output.path)
        stack.callback(folder.undo_folder)
        try:
            return folder, stack.enter_context(run_lock(lock, purpose, say, wait_for))
        except FileNotFoundError:
            if lock.parent.is_dir():
                raise
        except OSError as error:
            if isinstance(error, SsiError):
                raise
            folder.undo()
            raise OutputError(f"the state folder {folder.root} cannot be locked: {error}") from error
    raise LockedError(f"other runs begin and end in {config.state_path} all the time: wait, then run again")


def _undo(folder: StateFolder, paths: StatePaths, lease: Lease) -> None:
    """Take the marker away again where no run was begun; not where the folder is another client's by now."""
    with suppress(OSError, LockLostError):
        lease.check()
        if not paths.document.exists():
            folder.undo()


def until_refused() -> Callable[[Holder], bool]:
    """Return what waits for a lock that whoever holds it will give back soon: we hold the lease of the output."""
    until = time.monotonic() + _REFUSED_WITHIN_S
    return lambda _: time.monotonic() < until


@contextmanager
def sole_writer(config: RunConfig, purpose: str, say: Say | None = None) -> Iterator[Leases]:
    """Hold a run and its output alone; what parts left is merged into the run's ledger.

    Raises
    ------
    OutputError
        The state folder is the user's, or state or output cannot be made.
    LockedError
        Another client works on the run, or on the output.
    """
    paths = StatePaths(config.state_path)
    with hold_state(config, paths.lock, purpose, say) as lease:
        settle_parts(paths, lease, say or (lambda _: None))
        with output_lease(config.output.path, paths.root, lease, purpose, say) as output:
            yield Leases(lease, output)
