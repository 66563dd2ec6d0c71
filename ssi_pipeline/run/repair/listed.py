"""Sizes and ETags of all blocks of an output by lists: a request for each thousand, and a few bytes per block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.storage.state.ledger import mark_of
from ssi_pipeline.storage.state.records import Kind
from ssi_pipeline.tasks import Context
from ssi_pipeline.tasks.opening import task_counts


def listed_blocks(context: Context, kind: Kind) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return size and mark of each block's objects, as in ``LedgerState``; the size is 0 where one is missing."""
    sinks, count = context.sinks_of(kind), task_counts(context)[kind]
    sizes, marks, found = np.zeros(count, np.int64), np.zeros(count, np.uint64), np.zeros(count, np.uint8)
    for layer, sink in enumerate(sinks):
        for level, first, grid in _levels(context, kind):
            for cell, entry in sink.listed(level):
                if entry.size == 0 or any(i >= n for i, n in zip(cell, grid, strict=True)):
                    continue
                index = first + int(np.ravel_multi_index(cell, grid))
                sizes[index] += entry.size
                marks[index] ^= np.uint64(mark_of(entry.etag, layer))
                found[index] += 1
    sizes[found < len(sinks)] = 0
    return sizes, marks


def _levels(context: Context, kind: Kind) -> list[tuple[int, int, Ints]]:
    """Return level, index of the first block, and the grid of blocks (t c z y x), of each level of a kind."""
    if kind == "stitch":
        return [(0, 0, context.plan.block_grid)]
    pyramid = context.pyramid
    return [(level, pyramid.indices(level).start, pyramid.grid(level)) for level in range(1, pyramid.n_levels)]
