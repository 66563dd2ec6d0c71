"""Repair a ledger with unreadable lines: their tasks become pending, and blocks that they may invalidate are checked.

A lost ``done`` makes its task run again. A lost ``invalid`` is worse: the ``done`` before it would count. So all blocks
written before the damage are checked: a block must be newer than its tiles, and its voxels must match the recorded
digest. Then the ledger is rewritten without the unreadable lines, and a copy of the damaged one is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.results.ledger_summary import Tally, read_tally
from ssi_pipeline.run.checks.verify import check_all
from ssi_pipeline.run.repair_log import log_repair
from ssi_pipeline.storage.atomic import replacing
from ssi_pipeline.storage.state.ledger import DONE, WRITTEN, LedgerState, keep_damaged
from ssi_pipeline.storage.state.records import Kind, RecordHead, TaskRecord
from ssi_pipeline.storage.state.tail import records_and_gaps
from ssi_pipeline.tasks import Context
from ssi_pipeline.tasks.opening import task_counts

_NEVER = -1


def readable_ledger(
    context: Context,
    guard: Callable[[], None],
    ledger: Path | None = None,
    mine: Callable[[TaskRecord], bool] = lambda _: True,
) -> Tally:
    """Read the ledger, and repair it if it has unreadable lines. Called under its lock.

    Parameters
    ----------
    guard
        Raises if the lock has been lost.
    ledger
        Ledger of a part: read after the run's own, and the only one repaired.
    mine
        Returns whether this ledger may invalidate the block of a record.
    """
    own = context.paths.ledger if ledger is None else ledger
    ledgers = list(dict.fromkeys([context.paths.ledger, own]))
    tally = read_tally(ledgers, task_counts(context))
    damage = [lines for lines in tally.state.unreadable if lines.path == own]
    if not damage:
        return tally
    doubtful = [record for record in _doubtful(context, tally.state, ledgers) if mine(record)]
    guard()
    copy = keep_damaged(own)
    _rewrite(own, doubtful)
    for lines in damage:
        log_repair(
            context.paths,
            f"{lines}: their tasks are pending again; blocks written before were read back, "
            f"{len(doubtful) or 'none'} must be written again; the damaged ledger is kept as {copy.name}",
        )
    return read_tally(ledgers, task_counts(context))


def _rewrite(ledger: Path, more: list[TaskRecord]) -> None:
    with replacing(ledger) as temporary, temporary.open("wb") as stream:
        for record in chain((r for r in records_and_gaps(ledger, _strict) if r is not None), more):
            stream.write(record.to_line().encode() + b"\n")


def _strict(line: bytes) -> TaskRecord:
    """Return the record of a line; raises if any reader could not read it."""
    RecordHead.from_line(line)
    return TaskRecord.from_line(line)


def _doubtful(context: Context, state: LedgerState, ledgers: list[Path]) -> list[TaskRecord]:
    """Return the records that invalidate blocks which an unreadable line may have invalidated."""
    last, damaged = _last_lines(context, ledgers)
    suspects = {kind: (state.status[kind] == DONE) & (last[kind] < damaged) for kind in WRITTEN}
    outdated = {kind: suspects[kind] & old for kind, old in _outdated(context, last).items()}
    records = [
        TaskRecord(kind, int(index), "invalid", error="older than its tiles, according to the damaged ledger")
        for kind in WRITTEN
        for index in outdated[kind].nonzero()[0]
    ]
    checked = {kind: np.where(suspects[kind] & ~outdated[kind], DONE, 0).astype(np.uint8) for kind in WRITTEN}
    found = check_all(context, replace(state, status={**state.status, **checked}))
    return records + [TaskRecord(kind, index, "invalid", error=problem) for kind, index, problem in found if problem]


def _last_lines(context: Context, ledgers: list[Path]) -> tuple[dict[Kind, NDArray[np.int64]], int]:
    """Return the line number of the last ``done`` of every task, over all ledgers, and that of the last damage."""
    last = {kind: np.full(size, _NEVER, np.int64) for kind, size in task_counts(context).items()}
    damaged = _NEVER
    lines = chain.from_iterable(records_and_gaps(path, RecordHead.from_line) for path in ledgers)
    for number, head in enumerate(lines):
        if head is None:
            damaged = number
        elif head.status == "done" and 0 <= head.index < len(last[head.kind]):
            last[head.kind][head.index] = number
    return last, damaged


def _outdated(context: Context, last: dict[Kind, NDArray[np.int64]]) -> dict[Kind, NDArray[np.bool_]]:
    """Return for each block whether one of its sources is newer than the block."""
    old = {kind: np.zeros(len(last[kind]), bool) for kind in WRITTEN}
    for index in range(context.plan.n_blocks):
        block = context.plan.block(index)
        written = last["stitch"][index]
        old["stitch"][index] = written < max(last["solve"][tile] for tile in block.tiles)
        for above in context.pyramid.above(block.t, block.c, block.write.start):
            old["pyramid"][above] |= last["pyramid"][above] < written
    return old
