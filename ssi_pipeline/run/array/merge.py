"""Merge the ledgers of parts into the run's own; none of these parts may be running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ssi_pipeline.errors import LockedError
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.ledger import Ledger, keep_damaged
from ssi_pipeline.storage.state.lock import Lease, Say, clear_stale
from ssi_pipeline.storage.state.parts import (
    Part,
    part_ledger,
    part_lock,
    part_progress,
    parts_with_ledger,
    parts_with_lock,
)
from ssi_pipeline.storage.state.records import TaskRecord
from ssi_pipeline.storage.state.tail import records_and_gaps


def settle_parts(
    paths: StatePaths, lease: Lease, log: Say, which: Callable[[Part], bool] = lambda _: True
) -> list[Part]:
    """Merge the ledgers of parts that have ended, under the run's own lock; returns the merged parts.

    Raises
    ------
    LockedError
        One of them is running; nothing was merged.
    """
    refuse_working([part for part in parts_with_lock(paths) if which(part)], paths, log)
    left = [part for part in parts_with_ledger(paths) if which(part)]
    if left:
        _merge(paths, lease, left)
        log(f"merged the ledgers of {len(left)} part(s) of this run")
    return left


def refuse_working(parts: Sequence[Part], paths: StatePaths, log: Say) -> None:
    """Refuse to continue while parts are running; remove the locks of parts that were killed.

    Raises
    ------
    LockedError
        One of them is running.
    """
    if not parts:
        return
    # in parallel: a lock held on another machine has to be watched for a minute
    with ThreadPoolExecutor(len(parts)) as threads:
        holders = list(threads.map(lambda part: clear_stale(part_lock(paths, part), log), parts))
    for part, holder in zip(parts, holders, strict=True):
        if holder is not None:
            raise LockedError(f"{part} is running on this output ({holder}): wait for it or stop it, then run again")
        part_progress(paths, part).unlink(missing_ok=True)


def _merge(paths: StatePaths, lease: Lease, parts: Sequence[Part]) -> None:
    """Append the ledgers of parts to the run's; each is deleted once its copy is on disk, so a kill loses nothing.

    Duplicate records do no harm: the last one of a task counts, and the order is the same. Unreadable lines become
    gaps at their place: the next start checks every block that they may have invalidated.
    """
    with Ledger(paths.ledger, lease.check) as ledger:
        for part in parts:
            damaged = False
            for record in records_and_gaps(part_ledger(paths, part), TaskRecord.from_line):
                if record is None:
                    damaged = True
                    ledger.append_gap()
                else:
                    ledger.append(record)
            ledger.sync()
            if damaged:
                keep_damaged(part_ledger(paths, part))
            part_ledger(paths, part).unlink()
