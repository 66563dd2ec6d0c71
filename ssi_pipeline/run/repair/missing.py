"""Find recorded blocks whose file is missing, or is not the recorded one, at each start."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.run.checks.verify import check_all
from ssi_pipeline.run.repair.listed import listed_blocks
from ssi_pipeline.storage.outputs.output_store import output_store
from ssi_pipeline.storage.outputs.sink import stored_together
from ssi_pipeline.storage.state.ledger import DONE, WRITTEN, LedgerState, records_of
from ssi_pipeline.storage.state.parts import ledger_paths
from ssi_pipeline.storage.state.records import Kind, TaskRecord
from ssi_pipeline.tasks import Context
from ssi_pipeline.tasks.opening import block_place

_THREADS = 32
"""A network file system takes about a millisecond for a file's size, and answers many requests in parallel."""

_IN_TURN = 256
"""Files per thread and request: a hand-over costs as much as a few stat calls."""

_SAMPLE = 32
"""Files checked in the main thread first, to measure the latency of the file system."""

_FAST_SECONDS = 2e-4
"""A block costs 20 us on a local disk, nearly all of it Python's, so threads would only slow it down."""

_AT_ONCE = 4 * _THREADS * _IN_TURN
"""Blocks handed to the threads at a time: bounds memory with a million blocks."""


def forget_missing(context: Context, state: LedgerState) -> list[TaskRecord]:
    """Invalidate blocks whose file is missing or not the recorded one; changes ``state``.

    A file is known by its size. An object is known by its ETag, too: where only that differs, as in a bucket that was
    copied, the block is read back and compared with its digest. A good one gets a record with its new ETags, so that
    the next start does not read it.
    """
    by_list = output_store(context.document.config.output.path).lists_fast
    records = list(_of_listed(context, state) if by_list else _of_looked_at(context, state))
    for record in records:
        state.note(record)
    return records


def _of_listed(context: Context, state: LedgerState) -> Iterator[TaskRecord]:
    doubtful: dict[Kind, NDArray[np.uint8]] = {}
    for kind in WRITTEN:
        done, (sizes, marks) = state.status[kind] == DONE, listed_blocks(context, kind)
        wrong = done & ((sizes == 0) | (sizes != state.stored_bytes[kind]))
        yield from (_missing(kind, int(index), int(sizes[index])) for index in wrong.nonzero()[0])
        known = state.marks[kind]
        doubtful[kind] = np.where(done & ~wrong & (known != 0) & (known != marks), DONE, 0).astype(np.uint8)
    if any(found.any() for found in doubtful.values()):
        good: dict[Kind, list[int]] = {kind: [] for kind in WRITTEN}
        for kind, index, problem in check_all(context, replace(state, status={**state.status, **doubtful})):
            if problem:
                yield TaskRecord(kind, index, "invalid", error=problem)
            else:
                good[kind].append(index)
        for kind in WRITTEN:
            yield from _known_again(context, kind, good[kind])


def _known_again(context: Context, kind: Kind, blocks: Sequence[int]) -> Iterator[TaskRecord]:
    """Yield the records of blocks with the ETags that their objects have now."""
    if not blocks:
        return
    sinks, wanted = context.sinks_of(kind), frozenset(blocks)
    lines = chain.from_iterable(records_of(path, kind) for path in ledger_paths(context.paths))
    latest = {record.index: record for record in lines if record.index in wanted}

    def etags(index: int) -> list[str]:
        """Return the ETags of a block's objects, empty where there is none any more."""
        found = [sink.look(*block_place(context, kind, index)) for sink in sinks]
        return ["" if entry is None else entry.etag for entry in found]

    with ThreadPoolExecutor(_THREADS) as threads:
        for index, tags in zip(blocks, threads.map(etags, blocks), strict=True):
            if all(tags):  # its work took no further time
                yield replace(latest[index], seconds=0.0, quality={**latest[index].quality, "etags": tags})


def _of_looked_at(context: Context, state: LedgerState) -> Iterator[TaskRecord]:
    with ThreadPoolExecutor(_THREADS) as threads:
        for kind in WRITTEN:
            done = (state.status[kind] == DONE).nonzero()[0]
            for first in range(0, len(done), _AT_ONCE):
                chosen = done[first : first + _AT_ONCE]
                sizes = _stored_sizes(context, kind, chosen, threads)
                wrong = (sizes == 0) | (sizes != state.stored_bytes[kind][chosen])
                for index, size in zip(chosen[wrong], sizes[wrong], strict=True):
                    yield _missing(kind, int(index), int(size))


def _missing(kind: Kind, index: int, size: int) -> TaskRecord:
    return TaskRecord(kind, index, "invalid", error=f"file of {size} bytes")


def _stored_sizes(
    context: Context, kind: Kind, indices: NDArray[np.int64], threads: ThreadPoolExecutor
) -> NDArray[np.int64]:
    """Return the size of each block's file, 0 where it is missing."""

    sinks = context.sinks_of(kind)

    def sizes(part: NDArray[np.int64]) -> list[int]:
        """Return the size of each block's files in bytes."""
        return [stored_together(sinks, *block_place(context, kind, int(index))) for index in part]

    started = time.perf_counter()
    found = sizes(indices[:_SAMPLE])
    fast = time.perf_counter() - started < len(found) * _FAST_SECONDS
    parts = [indices[i : i + _IN_TURN] for i in range(_SAMPLE, len(indices), _IN_TURN)]
    for more in map(sizes, parts) if fast else threads.map(sizes, parts):
        found += more
    return np.array(found, np.int64)
