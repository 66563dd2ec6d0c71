"""Check that the input has not changed since the tiles were solved: file sizes and times first, then pixels."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import differences
from ssi_pipeline.errors import InputError, RunChangedError, StoreError
from ssi_pipeline.run.progress import ProgressDisplay
from ssi_pipeline.storage.inputs.identity import as_far_as_readable
from ssi_pipeline.storage.inputs.input_stamp import input_stamp
from ssi_pipeline.storage.inputs.mask import input_identity
from ssi_pipeline.storage.state.earlier_release import in_words_of
from ssi_pipeline.storage.state.ledger import latest_records
from ssi_pipeline.storage.state.made_from import UNREADABLE_READ, read_stamp, same_pixels, save_stamp, tile_sources
from ssi_pipeline.storage.state.parts import ledger_paths
from ssi_pipeline.storage.state.records import Kind
from ssi_pipeline.tasks import Context
from ssi_pipeline.tasks.context import NO_FILL
from ssi_pipeline.tasks.neighbours import places_of
from ssi_pipeline.tasks.reading import box_to_read, source_of
from ssi_pipeline.tasks.samples import samples_source
from ssi_pipeline.tasks.training_tiles import training_source

_AT_ONCE = 1024
"""Tiles handed to the reading threads at a time: bounds memory with a million tiles."""

_MOST_BYTES = 2**30
"""Of pixels read at a time, without the memory for decoding."""

_LISTED = 10
"""Most tiles named in a message."""

OnProgress = Callable[[int, int], None]
"""Receives the number of tiles compared, and their total; may raise to stop the comparison."""


@dataclass
class Comparison:
    """Result of comparing the input with the pixels that the tiles were solved from.

    ``changed``: one line for each difference; ``tiles``: the number of changed tiles. ``unreadable``: tiles whose
    pixels cannot be read now. ``unrecorded``: tiles solved by a release that kept no digests; ``gaps``: the image may
    have NaN.
    """

    compared: int = 0
    tiles: int = 0
    unreadable: int = 0
    unrecorded: int = 0
    gaps: bool = False
    changed: list[str] = field(default_factory=list)


def compare_input(context: Context, on_progress: OnProgress) -> Comparison:
    """Read the input of every solved tile and prepared channel again, and compare it with the recorded digests."""
    found = Comparison(gaps=np.dtype(context.document.volume.dtype).kind == "f")
    earlier = {"input": context.document.basis["input"]}
    document = context.document
    asked = input_identity(document.config.input, document.volume, document.first_frames).items()
    now = {"input": {key: value for key, value in asked if key in earlier["input"]}}
    now = in_words_of(earlier, now, context.document.config.input.path)
    found.changed += differences(earlier, as_far_as_readable(earlier, now))
    found.changed += [f"{kind} of channel {c}" for kind, c in _changed_channels(context)]
    ledgers, neighbours = ledger_paths(context.paths), context.document.config.network.neighbours
    sources, found.unrecorded = tile_sources(ledgers, context.plan.n_tiles, 1 + len(neighbours))
    chosen = [int(index) for index in (sources != b"").nonzero()[0]]
    fills = _fills(context)
    with ThreadPoolExecutor(_reading_threads(context)) as threads:
        for first in range(0, len(chosen), _AT_ONCE):
            part = chosen[first : first + _AT_ONCE]
            for index, source in zip(
                part, threads.map(partial(_tile_source, context, fills, sources), part), strict=True
            ):
                _note_tile(context, found, index, sources[index].decode(), source)
                on_progress(found.compared, len(chosen))
    return found


def _reading_threads(context: Context) -> int:
    """Return the number of tiles read at a time: a few per core, within the client's memory limit."""
    largest = math.prod(context.plan.tile(context.plan.n_tiles // 2).domain.shape)
    size = largest * np.dtype(context.document.volume.dtype).itemsize
    return max(1, min((os.cpu_count() or 1) + 4, _MOST_BYTES // size))


def _note_tile(context: Context, found: Comparison, index: int, recorded: str, now: str) -> None:
    found.compared += 1
    found.unreadable += now == UNREADABLE_READ
    if not same_pixels(recorded, now):
        found.tiles += 1
        tile = context.plan.tile(index)
        box = tile.domain.intersect(context.plan.bounds).shift(context.origin[2:])
        t, c = tile.t + context.origin[0], tile.c + context.origin[1]
        found.changed.append(f"tile {index}: t {t}, c {c}, zyx {box.start} to {box.stop} of the input")


def _fills(context: Context) -> list[Mapping[str, Any]]:
    """Return the fill of each channel from the ledger: the file of calibrations may be missing before a start."""
    records = latest_records(context.paths.ledger, "calibrate")
    found = (records[c].quality.get("fill") if c in records else None for c in range(context.plan.shape[1]))
    return [fill or NO_FILL for fill in found]


def _tile_source(context: Context, fills: Sequence[Mapping[str, Any]], sources: NDArray[np.bytes_], index: int) -> str:
    """Return the digests of a tile's boxes, as many as were recorded: a tile of fill needs no neighbours."""
    tile, fill = context.plan.tile(index), fills[context.plan.tile(index).c]
    places = [(tile.t, tile.domain), *((t, box) for _, t, box in places_of(context, tile.t, tile.domain))]
    reads = sources[index].count(b",") + 1
    return source_of(context, [(t, tile.c, box_to_read(context, box, fill)) for t, box in places[:reads]])


def _changed_channels(context: Context) -> Iterator[tuple[str, int]]:
    """Yield the channels whose calibration or shared network was computed from other pixels."""
    words: dict[Kind, str] = {"calibrate": "calibration", "train": "shared network"}
    for kind, word in words.items():
        for c, record in latest_records(context.paths.ledger, kind).items():
            if record.status == "done" and record.source and c < context.plan.shape[1]:
                if kind == "calibrate":
                    now = samples_source(context, c)
                else:
                    now = training_source(context, c, _fills(context)[c])
                if not same_pixels(record.source, now):
                    yield word, c


def refuse_changed_input(
    context: Context, display: ProgressDisplay, stopping: Callable[[], bool], alone: bool = True
) -> None:
    """Refuse to continue or complete a run whose input has changed.

    Pixels are read only where sizes or times of the files have changed.

    Parameters
    ----------
    stopping
        Returns whether the user asked the run to stop.
    alone
        No other part is running. Tiles that other parts are reading are not compared, so with other parts the
        recorded sizes and times stay as they are until the finish.

    Raises
    ------
    RunChangedError
        The pixels changed; names the tiles.
    KeyboardInterrupt
        The user asked to stop.
    """
    stamp, file = _stamp(context), context.paths.input_stamp
    if stamp is not None and read_stamp(file) == stamp:
        return

    def on_progress(done: int, total: int) -> None:
        """Show the progress."""
        if stopping():
            raise KeyboardInterrupt
        if done == 1:
            display.start("checking the input for changes", 0, total)
        display.note(done, 0, 0)

    try:
        found = compare_input(context, on_progress)
    finally:
        display.finish_stage()
    if found.changed:
        raise RunChangedError(_refusal(context, found))
    for line in describe_comparison(found):
        display.line(line)
    if alone and stamp is not None:
        save_stamp(file, stamp)


def _stamp(context: Context) -> str | None:
    """Return a digest of the sizes and times; None where a folder cannot be listed, or a server tells none.

    Raises
    ------
    InputError
        A file or folder is missing.
    """
    try:
        return input_stamp(context.source, *([] if context.mask is None else [context.mask.source]))
    except StoreError:
        raise
    except PermissionError:
        return None
    except OSError as error:
        path = context.document.config.input.path
        raise InputError(
            f"cannot access the files of the input {path} ({error}): is its disk mounted? Run again to resume"
        ) from error


def describe_comparison(found: Comparison) -> list[str]:
    """Return lines on an input without known changes; none where nothing was compared."""
    lines = []
    if found.compared:
        lines.append(
            f"the input's files have other sizes or times than before: the pixels of all {found.compared} solved tiles "
            "were read again and are unchanged"
        )
    if found.unreadable:
        lines.append(f"{found.unreadable} of these tiles cannot be read from the input now: run `ssi verify --input`")
    if found.unrecorded:
        lines.append(
            f"{found.unrecorded} tiles were solved by an earlier release, without digests: they cannot be compared"
        )
        if found.gaps:
            lines.append(
                "that release estimated the noise wrongly in regions with many NaN: if this image has such regions, "
                "start over with `ssi run --new`"
            )
    return lines


def list_changes(found: Comparison) -> list[str]:
    """Return the first changes, and the number of further ones."""
    more = len(found.changed) - _LISTED
    return found.changed[:_LISTED] + ([f"... and {more} more"] if more > 0 else [])


def _refusal(context: Context, found: Comparison) -> str:
    config = context.document.config
    return "\n".join(
        [
            f"the input {config.input.path} has changed since {config.output.path} was started: "
            f"{found.tiles} of {found.compared} solved tiles were computed from other pixels",
            *(f"  {line}" for line in list_changes(found)),
            "restore the input and run again to resume, "
            "or start over with `ssi run --new` (the old output is kept as a backup)",
        ]
    )
