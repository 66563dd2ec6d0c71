"""Verify a run: read every written block back and compare it with the ledger."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import CorruptDataError, LockedError, OutputError, StoreError
from ssi_pipeline.run.carry import carried_problems
from ssi_pipeline.run.checks.output_checks import refuse_other_output
from ssi_pipeline.run.repair.damage import ledger_metrics, metadata_damage, other_damage
from ssi_pipeline.run.writer import sole_writer
from ssi_pipeline.storage.outputs.carried import forget_carried
from ssi_pipeline.storage.outputs.output import set_status
from ssi_pipeline.storage.outputs.sink import Sink
from ssi_pipeline.storage.state.ledger import DONE, Ledger, LedgerState, read_states, records_of
from ssi_pipeline.storage.state.lock import is_locked
from ssi_pipeline.storage.state.parts import ledger_paths, working_parts
from ssi_pipeline.storage.state.records import Kind, TaskRecord
from ssi_pipeline.tasks import Context
from ssi_pipeline.tasks.opening import block_place, open_context, task_counts
from ssi_pipeline.tasks.write_block import block_digest

_AT_ONCE = 1024
"""Blocks handed to the reading threads at a time: bounds memory with a million blocks."""


@dataclass(frozen=True, slots=True)
class Verification:
    """Result of a verification: number of blocks, pending ones, and the problems of blocks and small files.

    ``unread``: blocks that could not be read, because the metadata of the output are damaged.
    """

    blocks: int
    missing: int
    problems: tuple[str, ...]
    recorded: bool
    damage: tuple[str, ...] = ()
    unread: int = 0

    @property
    def good(self) -> bool:
        """Whether every block and every small file is present, readable, and as recorded."""
        return not (self.problems or self.missing or self.damage)


def verify(config: RunConfig, on_progress: Callable[[int, int], None] | None = None) -> Verification:
    """Read every written block of every level and compare it with the ledger.

    Bad blocks are recorded, so that the next ``ssi run`` computes them again; while a run is active they are
    only reported. ``on_progress`` receives the number of blocks read, and their total.
    """
    context = open_context(config)
    state = read_states(ledger_paths(context.paths), task_counts(context))
    total = sum(len(state.status[kind]) for kind in ("stitch", "pyramid"))
    unreadable = metadata_damage(context)
    if unreadable:
        return Verification(total, 0, (), True, (*unreadable, *other_damage(context, state)), total)
    refuse_other_output(context.document, context.paths)
    carried = carried_problems(context, read=True)
    damage = [*other_damage(context, state, ledger_metrics(context)), *carried.values()]
    problems: list[tuple[TaskRecord, str]] = []
    checked = 0
    for kind, index, problem in check_all(context, state):
        checked += 1
        if on_progress is not None:
            on_progress(checked, total)
        if problem:
            problems.append((TaskRecord(kind, index, "invalid", error=problem), problem))
    recorded = _record(context, [record for record, _ in problems], carried)
    return Verification(total, total - checked, tuple(text for _, text in problems), recorded, tuple(damage))


def check_all(context: Context, state: LedgerState) -> Iterator[tuple[Kind, int, str | None]]:
    """Read every block recorded as done; yields its kind, its index and its problem, None where it is good."""
    images = context.open_sinks(writable=False)
    kinds: tuple[Kind, ...] = ("stitch", "pyramid")
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for kind in kinds:
            sinks, digests = images if kind == "stitch" else images[:1], _digests(context, kind)
            check = partial(_check, context, sinks, kind, digests)
            done = [int(index) for index in (state.status[kind] == DONE).nonzero()[0]]
            for first in range(0, len(done), _AT_ONCE):
                chosen = done[first : first + _AT_ONCE]
                found = threads.map(check, chosen)
                yield from ((kind, index, problem) for index, problem in zip(chosen, found, strict=True))


def _digests(context: Context, kind: Kind) -> NDArray[np.bytes_]:
    """Return the digest of every written block, 16 bytes each, empty where none is recorded."""
    digests = np.zeros(task_counts(context)[kind], "S16")
    for record in chain.from_iterable(records_of(path, kind) for path in ledger_paths(context.paths)):
        if 0 <= record.index < len(digests):
            digests[record.index] = record.digest
    return digests


def _check(context: Context, sinks: Sequence[Sink], kind: Kind, digests: NDArray[np.bytes_], index: int) -> str | None:
    level, t, c, box = block_place(context, kind, index)
    where = f"{kind}/{index} (level {level}, t {t}, c {c}, zyx {box.start} to {box.stop})"
    layers = []
    for sink in sinks:
        if sink.stored_bytes(level, t, c, box) == 0:
            return f"{where}: its file in {sink.path} is missing or empty"
        try:
            layers.append(sink.read(level, t, c, box))
        except CorruptDataError as error:
            return f"{where}: cannot read it from {sink.path}: {error.__cause__ or error}"
    good = block_digest(layers) == digests[index].decode()
    return None if good else f"{where}: its voxels differ from those that were written"


def _record(context: Context, records: list[TaskRecord], carried: Collection[str]) -> bool:
    """Write the problems to the ledger, and what has to be carried along again to the output, if no run is active."""
    if not records and not carried:
        return True
    if is_locked(context.paths.lock) or working_parts(context.paths):
        return False
    with ExitStack() as stack:
        try:
            # merges the ledgers of parts first, so that their records count as earlier
            lease = stack.enter_context(sole_writer(context.document.config, "a verification"))
        except (LockedError, OutputError, StoreError):  # the run is active, or may only be read
            return False
        ledger = stack.enter_context(Ledger(context.paths.ledger, lease.check))
        for record in records:
            ledger.append(record)
        path = context.document.config.output.path
        forget_carried(path, carried)
        set_status(path, "incomplete")
    return True
