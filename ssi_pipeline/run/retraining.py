"""Select the tiles to retrain, when all tiles are done: alarms are relative to the other tiles.

The selection is a file, written before any tile is invalidated, so that a resumed run has the same one. A tile on the
list is from then on always solved twice, so that its bytes do not depend on the number of times it is run.
"""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.quality.alarms import alarms_per_tile
from ssi_pipeline.results.finish import tile_metrics
from ssi_pipeline.storage.atomic import write_json
from ssi_pipeline.storage.state.ledger import DONE, FAILED, LedgerState, read_heads, records_of
from ssi_pipeline.storage.state.records import TaskRecord
from ssi_pipeline.tasks import Context
from ssi_pipeline.tasks.retraining import RETRAINED

RETRAINABLE = ("held-out", "gain", "whiteness", "r2r", "chi2", "background", "seam", "steps")
"""Alarms that another training may clear; saturated and hot pixels stay."""

_FLAGGED = "stands out: trained once more"

_LARGEST_SHARE = 0.1
"""Of the tiles, those with the most alarms: if more are flagged, the cause is common and not chance."""


def retrained_tiles(context: Context) -> frozenset[int]:
    """Return the tiles on the list; none before the selection, or without ``training.retrain``."""
    if not context.document.config.training.retrain or not context.paths.retrained.exists():
        return frozenset()
    return frozenset(json.loads(context.paths.retrained.read_text())["tiles"])


def is_chosen(context: Context) -> bool:
    """Return whether the list is written, or not needed."""
    return not context.document.config.training.retrain or context.paths.retrained.exists()


def choose_tiles(context: Context) -> list[int]:
    """Write the list unless it exists, from the alarms of all trained tiles; returns it."""
    if not is_chosen(context):
        write_list(context)
    return sorted(retrained_tiles(context))


def write_list(context: Context) -> None:
    """Write the list; after tiles were invalidated for it, the same list again."""
    metrics = tile_metrics(context, until=_FLAGGED)
    counts = alarms_per_tile(metrics["flag"], RETRAINABLE) * (metrics["trainings"] > 0)
    write_json(context.paths.retrained, {"tiles": _worst(counts.ravel())})


def was_chosen(context: Context) -> bool:
    """Return whether the ledger records that tiles were invalidated for a list."""
    wanted = context.document.config.training.retrain
    return wanted and any(head.error == _FLAGGED for head in read_heads(context.paths.ledger))


def _worst(counts: NDArray[np.int64]) -> list[int]:
    """Return the indices of the tiles with most alarms, at least one each, in ascending order."""
    most = max(1, int(_LARGEST_SHARE * counts.size))
    order = np.argsort(-counts, kind="stable")[:most]
    return sorted(int(index) for index in order if counts[index] > 0)


def invalidate_flagged(context: Context, state: LedgerState) -> list[TaskRecord]:
    """Return the records that make the tiles on the list and their blocks pending again; changes ``state``.

    Tiles that were retrained already stay. After a kill in between, all records are written again.
    """
    wanted = retrained_tiles(context)
    if not wanted:
        return []
    retrained: dict[int, bool] = {}
    for record in records_of(context.paths.ledger, "solve"):
        if record.index in wanted and record.status == "done":
            retrained[record.index] = RETRAINED in record.quality
    again = [i for i in sorted(wanted) if state.status["solve"][i] != FAILED and not retrained.get(i, False)]
    blocks = {block for index in again for block in context.plan.blocks_of(context.plan.tile(index))}
    records = [TaskRecord("solve", index, "invalid", error=_FLAGGED) for index in again]
    done = (block for block in sorted(blocks) if state.status["stitch"][block] == DONE)
    records += [TaskRecord("stitch", block, "invalid", error="one of its tiles is retrained") for block in done]
    for record in records:
        state.note(record)
    return records
