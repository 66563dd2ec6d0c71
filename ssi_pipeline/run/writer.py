"""Acquire exclusive write access to a run: its state folder, its lock, and the lease on its output."""

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
"""A client that finds the output in use ends within moments; the rest is for machines that pause."""


@contextmanager
def hold_state(
    config: RunConfig,
    lock: Path,
    purpose: str,
    log: Say | None = None,
    wait_for: Callable[[Holder], bool] | None = None,
) -> Iterator[Lease]:
    """Create the state folder, or use the existing one, and hold one of its locks.

    A folder created here is removed again if the call ends with an error before the run has started.

    Raises
    ------
    OutputError
        The folder was not created by ssi, or cannot be created.
    LockedError
        Another client holds the lock.
    """
    paths = StatePaths(config.state_path)
    with ExitStack() as stack:
        folder, lease = _lock(stack, config, lock, purpose, log, wait_for)
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
    log: Say | None,
    wait_for: Callable[[Holder], bool] | None,
) -> tuple[StateFolder, Lease]:
    """Lock the folder; try again where another client, refused or moving a run to a backup, removes it meanwhile."""
    for _ in range(_TRIES):
        folder = claim_state_folder(config.state_path, config.output.path)
        stack.callback(folder.undo_folder)
        try:
            return folder, stack.enter_context(run_lock(lock, purpose, log, wait_for))
        except FileNotFoundError:
            if lock.parent.is_dir():
                raise
        except OSError as error:
            if isinstance(error, SsiError):
                raise
            folder.undo()
            raise OutputError(f"cannot lock the state folder {folder.root}: {error}") from error
    raise LockedError(f"other runs keep starting and ending in {config.state_path}: wait, then run again")


def _undo(folder: StateFolder, paths: StatePaths, lease: Lease) -> None:
    """Remove the marker if no run was started, unless another client has the lock by now."""
    with suppress(OSError, LockLostError):
        lease.check()
        if not paths.document.exists():
            folder.undo()


def until_refused() -> Callable[[Holder], bool]:
    """Return a condition to wait for a lock whose holder will be refused soon, as we hold the output's lease."""
    until = time.monotonic() + _REFUSED_WITHIN_S
    return lambda _: time.monotonic() < until


@contextmanager
def sole_writer(config: RunConfig, purpose: str, log: Say | None = None) -> Iterator[Leases]:
    """Hold exclusive access to a run and its output; ledgers of parts are merged into the run's.

    Raises
    ------
    OutputError
        The state folder was not created by ssi, or state or output cannot be created.
    LockedError
        Another client uses the run or the output.
    """
    paths = StatePaths(config.state_path)
    with hold_state(config, paths.lock, purpose, log) as lease:
        settle_parts(paths, lease, log or (lambda _: None))
        with output_lease(config.output.path, paths.root, lease, purpose, log) as output:
            yield Leases(lease, output)
