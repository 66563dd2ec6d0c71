"""What parts left behind, taken into the run's own ledger, which needs that none of them works."""

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
    paths: StatePaths, lease: Lease, say: Say, which: Callable[[Part], bool] = lambda _: True
) -> list[Part]:
    """Merge the ledgers of parts that no longer work, under the run's own lock; returns whose it merged.

    Raises
    ------
    LockedError
        One of them works; nothing was merged.
    """
    refuse_working([part for part in parts_with_lock(paths) if which(part)], paths, say)
    left = [part for part in parts_with_ledger(paths) if which(part)]
    if left:
        _merge(paths, lease, left)
        say(f"took over what {len(left)} part(s) of this run recorded")
    return left


def refuse_working(parts: Sequence[Part], paths: StatePaths, say: Say) -> None:
    """Remove the locks of parts that were killed.

    Raises
    ------
    LockedError
        One of them works.
    """
    if not parts:
        return
    # side by side: each lock of another machine has to be watched for a minute
    with ThreadPoolExecutor(len(parts)) as threads:
        holders = list(threads.map(lambda part: clear_stale(part_lock(paths, part), say), parts))
    for part, holder in zip(parts, holders, strict=True):
        if holder is not None:
            raise LockedError(f"{part} works on this output ({holder}): wait for it, or end it; then run this again")
        part_progress(paths, part).unlink(missing_ok=True)


def _merge(paths: StatePaths, lease: Lease, parts: Sequence[Part]) -> None:
    """A ledger goes only when all of it is on disk elsewhere: killed before that, all of it is appended again.

    Records that are there twice do no harm: the last one of a task counts, and the order is the same. Lines that
    cannot be read stay gaps at their place: the start looks at all that they may have taken back.
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
