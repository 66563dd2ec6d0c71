"""The metrics of previewed tiles as a table, and the comparison of variants."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssi_pipeline.preview.solve import Solved
from ssi_pipeline.storage.atomic import write_text

_LEFT_OUT = ("trace", "note", "method")
SCORES = ("score", "heldout_excess", "heldout_after")
"""By which variants are compared: the first that every tile has; smaller is better."""


def save_table(path: Path, rows: Sequence[Solved]) -> None:
    """Write one CSV line for each tile and variant, with every number that the ledger would have."""
    names = dict.fromkeys(name for row in rows for name in row.quality if name not in _LEFT_OUT)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["variant", "tile", "why", "method", "seconds", "richardson_lucy_iterations", *names, "note"])
    for row in rows:
        values = [row.quality.get(name) for name in names]
        known = [row.variant, row.chosen.index, row.chosen.why, row.quality["method"], row.seconds, row.iterations]
        writer.writerow([*known, *values, row.quality.get("note", "")])
    write_text(path, stream.getvalue())


def screen_rows(rows: Sequence[Solved]) -> list[list[str]]:
    """Return the head and one row of texts for each tile and variant."""
    names = [name for name in (*SCORES, "heldout_wiener", "flux_ratio") if any(name in row.quality for row in rows)]
    several = len({row.variant for row in rows}) > 1
    head = [*(["variant"] if several else []), "tile", "chosen as", "method", *names, "seconds"]
    table = [head]
    for row in rows:
        values = [_text(row.quality.get(name)) for name in names]
        name = [row.variant] if several else []
        table.append(
            [*name, str(row.chosen.index), row.chosen.why, row.quality["method"], *values, f"{row.seconds:.1f}"]
        )
    return table


def comparison(rows: Sequence[Solved]) -> list[str]:
    """Return a line for each variant, the best first: the geometric mean over the tiles of its ratio to the best.

    Of a score that may be negative, the mean over the tiles of its rank. Empty with a single variant.
    """
    variants = list(dict.fromkeys(row.variant for row in rows))
    score = next((name for name in SCORES if all(_known(row.quality.get(name)) for row in rows)), None)
    if len(variants) < 2 or score is None:
        return []
    values = np.array([[float(row.quality[score]) for row in rows if row.variant == name] for name in variants])
    if (values > 0).all():
        merit, unit = np.exp(np.log(values / values.min(axis=0)).mean(axis=1)), "times the best of each tile"
    else:
        merit, unit = 1 + values.argsort(axis=0).argsort(axis=0).mean(axis=1), "mean rank over the tiles"
    order = np.argsort(merit, kind="stable")
    return [f"{variants[k]}: {score} {merit[k]:.4g} ({unit})" for k in order]


def _known(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else "-"
