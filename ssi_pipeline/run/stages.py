"""Order of the jobs of a run: plain lists, and tiles followed by the blocks that they complete."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from ssi_pipeline.run.retraining import is_chosen, retrained_tiles
from ssi_pipeline.storage.state.ledger import DONE, FAILED, TODO, LedgerState
from ssi_pipeline.storage.state.records import Job, Kind, TaskRecord
from ssi_pipeline.tasks import Context

_UNKNOWN = -1

_MOST_REPAIRS = 3
"""Times that the scratch of one tile may be unreadable before its block fails."""


class Stage(Protocol):
    """A source of jobs, updated with their records."""

    def next_job(self) -> Job | None:
        """Return a job that can run now, None if there is none (the next record may enable more)."""

    def note(self, record: TaskRecord) -> list[TaskRecord]:
        """Take a final record into account; return further records for the ledger that follow from it."""

    def synced(self) -> None:
        """Called when all records so far are on disk."""


class ListStage:
    """Independent jobs of one kind; ``frames``: see ``Job``."""

    def __init__(self, kind: Kind, indices: Iterable[int], frames: int | None = None) -> None:
        self._kind, self._frames = kind, frames
        self._todo = deque(indices)

    def next_job(self) -> Job | None:
        """Return the next of the list."""
        return Job(self._kind, self._todo.popleft(), frames=self._frames) if self._todo else None

    def note(self, record: TaskRecord) -> list[TaskRecord]:  # noqa: ARG002 no job depends on another
        """Return nothing: no job depends on another."""
        return []

    def synced(self) -> None:
        """Do nothing."""


class TileStage:
    """Tiles in the order of the grid, and each block as soon as all of its tiles are done.

    Holds a few bytes per tile and block; the rest is arithmetic on the plan. The scratch of a tile is deleted when all
    of its blocks are written and recorded on disk. Blocks that need tiles outside ``tiles`` are left pending, and the
    scratch of their tiles stays.
    """

    def __init__(self, context: Context, state: LedgerState, tiles: range) -> None:
        self._context = context
        self._plan = context.plan
        self._tiles = state.status["solve"]
        self._blocks = state.status["stitch"]
        self._pyramid = state.status["pyramid"]
        self._there = np.zeros(self._plan.n_tiles, bool)
        self._offered = np.zeros(self._plan.n_blocks, bool)
        self._missing = np.full(self._plan.n_blocks, _UNKNOWN, np.int32)
        self._ready: deque[int] = deque()
        self._again: deque[int] = deque()
        self._repairs: dict[int, int] = {}
        self._release: list[int] = []
        self._retrained = retrained_tiles(context)
        # before the selection for retraining: a retrained tile is blended with its neighbours again
        self._keep = context.document.config.output.keep_scratch or not is_chosen(context)
        self._left = frozenset() if self._plan.direct else context.scratch.present()
        self._cursor, self._end = tiles.start, tiles.stop

    def has_work(self) -> bool:
        """Return whether there is any job, before workers are started."""
        job = self.next_job()
        if job is not None:
            (self._ready if job.kind == "stitch" else self._again).appendleft(job.index)
        return job is not None

    def next_job(self) -> Job | None:
        """Return a block whose tiles are done (it frees scratch), else the next tile that some block needs."""
        while not self._ready and not self._again and self._cursor < self._end:
            index = self._cursor
            self._cursor += 1
            if self._tiles[index] != FAILED and self._needed(index):
                self._again.append(index)
        if self._ready:
            return Job("stitch", self._ready.popleft())
        return self._solve(self._again.popleft()) if self._again else None

    def _solve(self, index: int) -> Job:
        return Job("solve", index, retrain=index in self._retrained)

    def _needed(self, index: int) -> bool:
        """Return whether a tile has to be solved; one whose scratch exists is passed to its blocks instead."""
        tile = self._plan.tile(index)
        if all(self._blocks[b] == DONE for b in self._plan.blocks_of(tile)):
            if index in self._left:
                self._release.append(index)  # a kill may have come before its scratch was deleted
            return bool(self._tiles[index] == TODO)  # its own record was lost to damage of the ledger
        if self._tiles[index] == DONE and not self._plan.direct and self._context.scratch.has(index):
            self._arrived(index)
            return False
        return True

    def _arrived(self, index: int) -> None:
        if self._there[index]:
            return
        self._there[index] = True
        for b in self._plan.blocks_of(self._plan.tile(index)):
            self._count(b, -1)
            if self._missing[b] == 0 and self._blocks[b] != DONE and not self._offered[b]:
                self._offered[b] = True
                self._ready.append(b)

    def _count(self, block: int, change: int) -> None:
        """Update the number of tiles that a block waits for; it is computed when its first tile arrives."""
        if self._missing[block] == _UNKNOWN:
            self._missing[block] = len(self._plan.block(block).tiles)
        self._missing[block] += change

    def note(self, record: TaskRecord) -> list[TaskRecord]:
        """Make the blocks of a solved tile ready, and release the scratch of a written block."""
        if record.kind == "solve" and record.status == "done" and not self._plan.direct:
            self._arrived(record.index)
            self._release.append(record.index)  # released only if its blocks are written
        if record.kind == "stitch" and record.status == "done":
            return self._written(record.index)
        if record.kind == "stitch" and record.failure is not None and record.failure.tile is not None:
            return self._solve_again(record.index, record.failure.tile)
        return []

    def _written(self, index: int) -> list[TaskRecord]:
        """Release the block's tiles, and invalidate pyramid blocks of an earlier version of the block."""
        block = self._plan.block(index)
        if not self._plan.direct:
            self._release.extend(block.tiles)
        stale = self._context.pyramid.above(block.t, block.c, block.write.start)
        reason = f"block {index} of the full resolution was rewritten"
        return [TaskRecord("pyramid", i, "invalid", error=reason) for i in stale if self._pyramid[i] == DONE]

    def _solve_again(self, block: int, tile: int) -> list[TaskRecord]:
        reason = "its scratch could not be read back"
        again = TaskRecord("stitch", block, "invalid", error=reason)
        if not self._there[tile]:  # another block reported it before, and the tile is pending
            self._offered[block] = False
            return [again]
        self._repairs[tile] = self._repairs.get(tile, 0) + 1
        if self._repairs[tile] > _MOST_REPAIRS:
            return []
        self._there[tile] = False
        self._offered[block] = False
        for b in self._plan.blocks_of(self._plan.tile(tile)):
            self._count(b, +1)
        self._again.append(tile)
        return [TaskRecord("solve", tile, "invalid", error=reason), again]

    def synced(self) -> None:
        """Delete the scratch of tiles whose blocks are all written."""
        if not self._keep:
            for index in set(self._release):
                blocks = self._plan.blocks_of(self._plan.tile(index))
                if all(self._blocks[b] == DONE for b in blocks):
                    self._context.scratch.release(index)
        self._release.clear()


def pending(state: LedgerState, kind: Kind, indices: Iterable[int]) -> list[int]:
    """Return those of ``indices`` that are not done, including failed ones."""
    status = state.status[kind]
    return [index for index in indices if status[index] != DONE]


def forget_failures(state: LedgerState, tiles: range) -> list[TaskRecord]:
    """Make the failed tiles of a range pending again; returns the records."""
    failed = [int(index) for index in (state.status["solve"] == FAILED).nonzero()[0]]
    chosen = [index for index in failed if index in tiles]
    records = [TaskRecord("solve", index, "invalid", error="retried") for index in chosen]
    for record in records:
        state.note(record)
    return records
