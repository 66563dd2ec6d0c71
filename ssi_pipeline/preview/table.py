"""Table of metrics of the previewed tiles, and comparison of variants."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssi_pipeline.preview.solve import Solved
from ssi_pipeline.quality.ranks import SCORED, rank_sum
from ssi_pipeline.storage.atomic import write_text

_LEFT_OUT = ("trace", "note", "method")
_SHOWN = (*SCORED, "heldout_after", "heldout_wiener", "flux_ratio")


def save_table(path: Path, rows: Sequence[Solved]) -> None:
    """Write one CSV row per tile and variant, with all metrics of the ledger."""
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
    """Return a header and one row of text per tile and variant."""
    names = [name for name in _SHOWN if any(name in row.quality for row in rows)]
    several = len({row.variant for row in rows}) > 1
    head = [*(["variant"] if several else []), "tile", "type", "method", *names, "seconds"]
    table = [head]
    for row in rows:
        values = [_text(row.quality.get(name)) for name in names]
        name = [row.variant] if several else []
        table.append(
            [*name, str(row.chosen.index), row.chosen.why, row.quality["method"], *values, f"{row.seconds:.1f}"]
        )
    return table


def comparison(rows: Sequence[Solved]) -> list[str]:
    """Return a line per variant, the best first; empty for a single variant.

    Criterion: the score (``quality.ranks``), which is the sum of a variant's ranks over the metrics of a tile, averaged
    over tiles. If these were not measured: the geometric mean of the held-out loss relative to the tile's best.
    """
    variants = list(dict.fromkeys(row.variant for row in rows))
    if len(variants) < 2:
        return []
    found = {(row.variant, row.chosen.index): _numbers(row.quality) for row in rows}
    tiles = dict.fromkeys(row.chosen.index for row in rows)
    by_tile = [[found[variant, tile] for variant in variants] for tile in tiles]
    if all(quality.keys() & set(SCORED) for quality in found.values()):
        merit = np.mean([rank_sum(qualities) for qualities in by_tile], axis=0)
        unit = "rank sum over " + ", ".join(SCORED)
    elif all("heldout_after" in quality for quality in found.values()):
        losses = np.array([[quality["heldout_after"] for quality in qualities] for qualities in by_tile])
        merit = np.exp(np.log(losses / losses.min(axis=1, keepdims=True)).mean(axis=0))
        unit = "held-out loss relative to the best"
    else:
        return []
    return [f"{variants[k]}: {merit[k]:.4g} ({unit})" for k in np.argsort(merit, kind="stable")]


def _numbers(quality: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in quality.items() if _known(value)}


def _known(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else "-"
