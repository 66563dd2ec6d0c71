"""Failure section: causes, positions, and the command to retry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ssi_pipeline.redact import redact
from ssi_pipeline.report.facts import RunFacts
from ssi_pipeline.report.section import Section, render
from ssi_pipeline.report.words import number, place
from ssi_pipeline.results.failure_reasons import without_numbers
from ssi_pipeline.storage.state.ledger import FAILED
from ssi_pipeline.storage.state.records import Kind, TaskRecord
from ssi_pipeline.tasks.opening import block_place

_MOST_ROWS = 50
_MOST_CAUSES = 20
_MOST_READ = 100_000
"""Most failures whose cause is read: a larger number has few distinct causes."""

_LONGEST = 600


@dataclass(slots=True)
class Cause:
    """Failures whose messages differ only in numbers; ``example`` is the first message."""

    example: str
    count: int = 0


def failures_section(facts: RunFacts) -> Section:
    """List causes with counts, and the first failed tiles and blocks with their positions."""
    tiles = _failed(facts, ("solve",))
    others = _failed(facts, ("calibrate", "train", "stitch", "pyramid"))
    causes: dict[str, Cause] = {}
    rows: list[tuple[str, str, str, int, str]] = []
    for record in facts.records_at(islice(sorted([*tiles, *others]), _MOST_READ)):
        text = redact(record.error or "unknown")[:_LONGEST]
        key = without_numbers(text)
        if key in causes or len(causes) < _MOST_CAUSES:
            causes.setdefault(key, Cause(text)).count += 1
        if len(rows) < _MOST_ROWS:
            rows.append((record.key, *_where(facts, record), record.attempt, text))
    total = len(tiles) + len(others)
    html = render(
        "failures",
        failed=_counts(len(tiles), len(others)),
        command=f"ssi run --retry-failed {facts.configuration}",
        total=total,
        read=number(min(total, _MOST_READ)),
        causes=sorted(causes.values(), key=lambda cause: -cause.count),
        rows=rows,
        left=number(total - len(rows)) if total > len(rows) else "",
    )
    return Section("failures", "Failures", html)


def _counts(tiles: int, others: int) -> str:
    """Return for instance ``3 tiles and 1 other task``, without zero counts."""
    counts = ((tiles, "tile"), (others, "other task" if tiles else "task"))
    return " and ".join(f"{number(n)} {what}{'s' if n > 1 else ''}" for n, what in counts if n)


def _failed(facts: RunFacts, kinds: Iterable[Kind]) -> list[int]:
    """Return the ledger lines with the last record of every failed task."""
    lines = [facts.lines[kind][facts.state.status[kind] == FAILED] for kind in kinds]
    return [int(line) for line in np.concatenate(lines)]


def _where(facts: RunFacts, record: TaskRecord) -> tuple[str, str]:
    """Return the position on the tile grid and the voxels of a task in the output."""
    plan = facts.context.plan
    if record.kind == "solve":
        tile = plan.tile(record.index)
        grid = place([int(i) for i in np.unravel_index(record.index, plan.tile_grid)])
        return grid, _box(tile.t, tile.c, tile.core.start, tile.core.stop)
    if record.kind in ("stitch", "pyramid"):
        level, t, c, box = block_place(facts.context, record.kind, record.index)
        return "", f"level {level}, {_box(t, c, box.start, box.stop)}"
    return "", facts.channel_name(record.index)


def _box(t: int, c: int, start: tuple[int, ...], stop: tuple[int, ...]) -> str:
    spans = (f"{axis} {a} to {b - 1}" for axis, a, b in zip("zyx", start, stop, strict=True))
    return f"t {t}, c {c}, {', '.join(spans)}"
