"""Which tiles are trained once more: chosen when all of them are there, since an alarm is relative to the others.

The choice is a file, written before anything is taken back: whoever goes on after a kill comes to the same one. A tile
on the list is solved both ways wherever it is solved from then on, so that it has the same bytes however often that is.
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

MENDABLE = ("held-out", "gain", "whiteness", "r2r", "chi2", "background", "seam", "steps")
"""Alarms that another training may silence; a saturated or hot pixel stays what it is."""

_STANDS_OUT = "stands out: trained once more"

_LARGEST_SHARE = 0.1
"""Of the tiles, those with the most alarms: where more stand out, it is not chance that they share."""


def retrained_tiles(context: Context) -> frozenset[int]:
    """Return the tiles on the list; none where it is not made yet, or not asked for."""
    if not context.document.config.training.retrain or not context.paths.retrained.exists():
        return frozenset()
    return frozenset(json.loads(context.paths.retrained.read_text())["tiles"])


def is_chosen(context: Context) -> bool:
    """Tell whether the list is made, or none is wanted."""
    return not context.document.config.training.retrain or context.paths.retrained.exists()


def choose_tiles(context: Context) -> list[int]:
    """Make the list unless it is there, from the alarms of all tiles that were trained on; returns it."""
    if not is_chosen(context):
        write_list(context)
    return sorted(retrained_tiles(context))


def write_list(context: Context) -> None:
    """Write the list; where tiles were taken back for it already, the one that they were taken back for."""
    metrics = tile_metrics(context, until=_STANDS_OUT)
    counts = alarms_per_tile(metrics["flag"], MENDABLE) * (metrics["trainings"] > 0)
    write_json(context.paths.retrained, {"tiles": _worst(counts.ravel())})


def was_chosen(context: Context) -> bool:
    """Tell whether the ledger says that the list was made once, and that there were tiles on it."""
    wanted = context.document.config.training.retrain
    return wanted and any(head.error == _STANDS_OUT for head in read_heads(context.paths.ledger))


def _worst(counts: NDArray[np.int64]) -> list[int]:
    """Return the indices of the tiles with most alarms, at least one each, in their order."""
    most = max(1, int(_LARGEST_SHARE * counts.size))
    order = np.argsort(-counts, kind="stable")[:most]
    return sorted(int(index) for index in order if counts[index] > 0)


def take_back_flagged(context: Context, state: LedgerState) -> list[TaskRecord]:
    """Return the records that put the tiles on the list back to do, and their blocks; changes ``state``.

    Those that were solved both ways already stay. A kill may have come among these records: all are made again.
    """
    wanted = retrained_tiles(context)
    if not wanted:
        return []
    both: dict[int, bool] = {}
    for record in records_of(context.paths.ledger, "solve"):
        if record.index in wanted and record.status == "done":
            both[record.index] = RETRAINED in record.quality
    again = [i for i in sorted(wanted) if state.status["solve"][i] != FAILED and not both.get(i, False)]
    blocks = {block for index in again for block in context.plan.blocks_of(context.plan.tile(index))}
    records = [TaskRecord("solve", index, "invalid", error=_STANDS_OUT) for index in again]
    done = (block for block in sorted(blocks) if state.status["stitch"][block] == DONE)
    records += [TaskRecord("stitch", block, "invalid", error="one of its tiles is trained once more") for block in done]
    for record in records:
        state.note(record)
    return records
