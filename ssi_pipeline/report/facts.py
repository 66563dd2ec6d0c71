"""Ledger of a run in one pass, as arrays on the tile grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.results.channel_facts import plain_calibration
from ssi_pipeline.results.failure_reasons import without_numbers
from ssi_pipeline.results.finish import TileMetrics
from ssi_pipeline.results.ledger_summary import Tally
from ssi_pipeline.run.repair.damage import metadata_damage, other_damage
from ssi_pipeline.storage.state.ledger import DONE, FAILED, LedgerState, records_of
from ssi_pipeline.storage.state.lock import is_locked
from ssi_pipeline.storage.state.parts import ledger_paths, working_parts
from ssi_pipeline.storage.state.records import KINDS, Kind, RecordHead, TaskRecord
from ssi_pipeline.storage.state.tail import LedgerTail
from ssi_pipeline.tasks import Context
from ssi_pipeline.tasks.opening import task_counts

_MOST_NOTES = 100
"""Most distinct notes to count; with numbers masked, a run has a handful."""


@dataclass(slots=True)
class KindTotals:
    """Totals of one kind of task: finished tasks, summed wall time, highest peak memory of process and GPU."""

    count: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0
    device_peak_bytes: int = 0


@dataclass(slots=True)
class Clock:
    """Working time of a run; ``busy_s`` excludes the pauses between calls."""

    first_started: float | None = None
    last_finished: float | None = None
    busy_s: float = 0.0

    def note(self, record: TaskRecord) -> None:
        """Add the time of one task; tasks arrive roughly in the order of finishing."""
        if record.finished <= 0:
            return  # a block written in its tile's task has no separate time
        start, stop = record.finished - record.seconds, record.finished
        self.first_started = start if self.first_started is None else min(start, self.first_started)
        self.busy_s += max(0.0, stop - (start if self.last_finished is None else max(start, self.last_finished)))
        self.last_finished = stop if self.last_finished is None else max(stop, self.last_finished)


@dataclass(slots=True)
class RunFacts:
    """All data of the report about one run.

    ``configuration``: as in a command: its file, quoted for a shell, and its ``--set`` options.
    ``metrics``: by name, float32 on the tile grid (t c z y x), NaN where a tile has none. ``lines``: line
    of the ledger with the last record of each task, by kind, -1 where there is none. ``finished``:
    seconds since 1970 by tile, NaN where not done. ``notes``: counts of the notes in tile records.
    ``damage``: lost or damaged files besides the image.
    """

    context: Context
    configuration: str
    tally: Tally
    running: bool
    calibration: list[dict[str, Any]]
    metrics: dict[str, NDArray[np.float32]]
    lines: dict[Kind, NDArray[np.int64]]
    finished: NDArray[np.float64]
    totals: dict[Kind, KindTotals]
    damage: list[str] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def state(self) -> LedgerState:
        """Status of all tasks."""
        return self.tally.state

    @property
    def workers(self) -> set[str]:
        """All processes that finished a task, as host:process."""
        return set(self.tally.workers)

    @property
    def tiles_done(self) -> int:
        """Number of tiles solved."""
        return self.state.count("solve", DONE)

    @property
    def tiles_failed(self) -> int:
        """Number of failed tiles."""
        return self.state.count("solve", FAILED)

    @property
    def complete(self) -> bool:
        """Whether every block of every level is written."""
        return all(bool((self.state.status[kind] == DONE).all()) for kind in ("stitch", "pyramid"))

    def channel_name(self, c: int) -> str:
        """Return the name of a channel of the output, with its index."""
        names, index = self.context.document.volume.channel_names, c + self.context.origin[1]
        return f"channel {c} ({names[index]})" if index < len(names) and names[index] else f"channel {c}"

    def records_at(self, lines: Iterable[int]) -> Iterator[TaskRecord]:
        """Yield the records on the given lines, in ledger order; no other line is parsed."""
        wanted = sorted(lines)
        if not wanted:
            return
        due = iter(wanted)
        target = next(due)
        for number, line in enumerate(_whole_lines(ledger_paths(self.context.paths))):
            if number != target:
                continue
            yield TaskRecord.from_line(line)
            try:
                target = next(due)
            except StopIteration:
                return


def _whole_lines(ledgers: Iterable[Path]) -> Iterator[bytes]:
    """Yield the valid lines of all ledgers, counted as in ``read_records``."""

    def as_it_is(line: bytes) -> bytes:
        """Return the line; raise ValueError if it is not a record."""
        RecordHead.from_line(line)
        return line

    for ledger in ledgers:
        yield from LedgerTail(ledger).read(as_it_is)


def read_facts(context: Context, configuration: str) -> RunFacts:
    """Read the ledger once, and block records again if blocks were rewritten. Memory scales with the tile grid."""
    counts = task_counts(context)
    tally = Tally(counts)
    facts = RunFacts(
        context=context,
        configuration=configuration,
        tally=tally,
        running=is_locked(context.paths.lock) or bool(working_parts(context.paths)),
        calibration=plain_calibration(context),
        metrics={},
        lines={kind: np.full(size, -1, np.int64) for kind, size in counts.items()},
        finished=np.full(context.plan.n_tiles, np.nan),
        totals={kind: KindTotals() for kind in KINDS},
    )
    ledgers = ledger_paths(context.paths)
    metrics = TileMetrics(context.plan)
    tails = [LedgerTail(path) for path in ledgers]
    for number, record in enumerate(chain.from_iterable(tail.read(TaskRecord.from_line) for tail in tails)):
        if 0 <= record.index < counts[record.kind]:
            tally.note([record])
            _note(facts, number, record)
            metrics.note(record)
    if not metrics.is_final:
        metrics.add_seams_again(chain.from_iterable(records_of(path, "stitch") for path in ledgers))
    facts.metrics = metrics.on_grid([channel.get("scale", 1.0) for channel in facts.calibration])
    facts.state.unreadable.extend(tail.unreadable for tail in tails if tail.unreadable.count)
    known = facts.metrics if facts.calibration else None
    facts.damage += [*metadata_damage(context), *other_damage(context, facts.state, known)]
    return facts


def _note(facts: RunFacts, number: int, record: TaskRecord) -> None:
    facts.lines[record.kind][record.index] = number
    facts.clock.note(record)
    total = facts.totals[record.kind]
    total.peak_bytes = max(total.peak_bytes, record.peak_bytes)
    total.device_peak_bytes = max(total.device_peak_bytes, record.device_peak_bytes)
    if record.status == "done":
        total.count += 1
        total.seconds += record.seconds
    if record.kind == "solve":
        _note_tile(facts, record)


def _note_tile(facts: RunFacts, record: TaskRecord) -> None:
    facts.finished[record.index] = record.finished if record.status == "done" else np.nan
    if record.note:
        note = without_numbers(record.note)
        facts.notes[note if note in facts.notes or len(facts.notes) < _MOST_NOTES else "other"] += 1
