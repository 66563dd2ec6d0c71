"""Is the input still what the tiles were made from? Sizes and times of files tell first, pixels where these differ."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ssi_pipeline.config import differences
from ssi_pipeline.errors import InputError, RunChangedError
from ssi_pipeline.geometry import Box
from ssi_pipeline.run.progress import ProgressDisplay
from ssi_pipeline.storage.inputs.identity import as_far_as_readable, identity
from ssi_pipeline.storage.inputs.input_stamp import input_stamp
from ssi_pipeline.storage.inputs.source import spec_of
from ssi_pipeline.storage.state.earlier_release import in_words_of
from ssi_pipeline.storage.state.ledger import latest_records
from ssi_pipeline.storage.state.made_from import UNREADABLE_READ, read_stamp, same_pixels, save_stamp, tile_sources
from ssi_pipeline.storage.state.parts import ledger_paths
from ssi_pipeline.storage.state.records import Kind
from ssi_pipeline.tasks import Context
from ssi_pipeline.tasks.read_measurement import samples_source, training_places
from ssi_pipeline.tasks.reading import source_of

_AT_ONCE = 1024
"""Tiles given to the reading threads at a time, so that a million of them never wait in memory."""

_MOST_BYTES = 2**30
"""Of pixels that are read at a time, before what decoding needs."""

_LISTED = 10
"""Tiles that a message names: enough to see where, few enough to read."""

Tell = Callable[[int, int], None]
"""Receives the number of tiles compared, and their total; may raise to end it."""


@dataclass
class Comparison:
    """Result of comparing the input with what the tiles were made from.

    ``changed``: lines on what was made from other pixels, of which ``tiles`` are tiles. ``unreadable``: tiles whose
    pixels cannot be read now. ``unrecorded``: tiles of a release that kept no digests, of an image that may have gaps
    (NaN) where ``gaps`` says so.
    """

    compared: int = 0
    tiles: int = 0
    unreadable: int = 0
    unrecorded: int = 0
    gaps: bool = False
    changed: list[str] = field(default_factory=list)


def compare_input(context: Context, tell: Tell) -> Comparison:
    """Read the input of every solved tile and every prepared channel again, and compare it with what is recorded."""
    found = Comparison(gaps=np.dtype(context.document.volume.dtype).kind == "f")
    earlier = {"input": context.document.basis["input"]}
    asked = identity(spec_of(context.document.config.input)).items()
    now = {"input": {key: value for key, value in asked if key in earlier["input"]}}
    now = in_words_of(earlier, now, context.document.config.input.path)
    found.changed += differences(earlier, as_far_as_readable(earlier, now))
    found.changed += [f"{kind} of channel {c}" for kind, c in _changed_channels(context)]
    ledgers = ledger_paths(context.paths)
    sources, found.unrecorded = tile_sources(ledgers, context.plan.n_tiles)
    chosen = [int(index) for index in (sources != b"").nonzero()[0]]
    with ThreadPoolExecutor(_reading_threads(context)) as threads:
        for first in range(0, len(chosen), _AT_ONCE):
            part = chosen[first : first + _AT_ONCE]
            for index, source in zip(part, threads.map(partial(_tile_source, context), part), strict=True):
                _note_tile(context, found, index, sources[index].decode(), source)
                tell(found.compared, len(chosen))
    return found


def _reading_threads(context: Context) -> int:
    """Return how many tiles are read at a time: some for each core, as long as the client's memory stays small."""
    largest = math.prod(context.plan.tile(context.plan.n_tiles // 2).domain.shape)
    size = largest * np.dtype(context.document.volume.dtype).itemsize
    return max(1, min((os.cpu_count() or 1) + 4, _MOST_BYTES // size))


def _note_tile(context: Context, found: Comparison, index: int, recorded: str, now: str) -> None:
    found.compared += 1
    found.unreadable += now == UNREADABLE_READ
    if not same_pixels(recorded, now):
        found.tiles += 1
        tile = context.plan.tile(index)
        box = _inside(context, tile.domain).shift(context.origin[2:])
        t, c = tile.t + context.origin[0], tile.c + context.origin[1]
        found.changed.append(f"tile {index}: t {t}, c {c}, zyx {box.start} to {box.stop} of the input")


def _inside(context: Context, domain: Box) -> Box:
    return domain.intersect(context.plan.bounds)


def _tile_source(context: Context, index: int) -> str:
    tile = context.plan.tile(index)
    return source_of(context, [(tile.t, tile.c, _inside(context, tile.domain))])


def _changed_channels(context: Context) -> Iterator[tuple[str, int]]:
    """Yield the channels whose constants, or whose shared network, were made from other pixels."""
    config = context.document.config
    words: dict[Kind, str] = {"calibrate": "calibration", "train": "shared network"}
    for kind, word in words.items():
        for c, record in latest_records(context.paths.ledger, kind).items():
            if record.status == "done" and record.source and c < context.plan.shape[1]:
                if kind == "calibrate":
                    now = samples_source(context, c)
                else:
                    places = training_places(context, c, config.training.shared_tiles)
                    now = source_of(context, [(t, c, _inside(context, box)) for t, box in places])
                if not same_pixels(record.source, now):
                    yield word, c


def refuse_changed_input(
    context: Context, display: ProgressDisplay, stopping: Callable[[], bool], alone: bool = True
) -> None:
    """Refuse to go on, or to call complete, what was made from other pixels than the input has now.

    Nothing is read where sizes and times of all files are those that all records so far were made from.

    Parameters
    ----------
    stopping
        Tells whether the user wants the run to end.
    alone
        Nobody else works on this run: what others are reading just now is not compared, so what is recorded of
        sizes and times must stay as it is until the finish.

    Raises
    ------
    RunChangedError
        The pixels changed; names the tiles.
    KeyboardInterrupt
        The user wants it to end.
    """
    stamp, file = _stamp(context), context.paths.input_stamp
    if stamp is not None and read_stamp(file) == stamp:
        return

    def tell(done: int, total: int) -> None:
        """Show how far it is."""
        if stopping():
            raise KeyboardInterrupt
        if done == 1:
            display.start("comparing the input with what the tiles were made from", 0, total)
        display.note(done, 0, 0)

    try:
        found = compare_input(context, tell)
    finally:
        display.finish_stage()
    if found.changed:
        raise RunChangedError(_refusal(context, found))
    for line in describe_comparison(found):
        display.line(line)
    if alone and stamp is not None:
        save_stamp(file, stamp)


def _stamp(context: Context) -> str | None:
    """Return the sizes and times as one digest; None where a folder may be read from but not listed.

    Raises
    ------
    InputError
        A file or folder is gone.
    """
    try:
        return input_stamp(context.source)
    except PermissionError:
        return None
    except OSError as error:
        path = context.document.config.input.path
        raise InputError(
            f"the files of the input {path} cannot be looked at ({error}): is its disk there? Run again to resume"
        ) from error


def describe_comparison(found: Comparison) -> list[str]:
    """Return lines on an input that is the same as far as is known; none where nothing was compared."""
    lines = []
    if found.compared:
        lines.append(
            f"the input's files are not those of the last look (other sizes or times): the pixels of all "
            f"{found.compared} solved tiles were read again, and are the same"
        )
    if found.unreadable:
        lines.append(f"{found.unreadable} of these tiles cannot be read from the input any more: `ssi verify --input`")
    if found.unrecorded:
        lines.append(
            f"of {found.unrecorded} tiles an earlier release recorded no digest: whether their input changed is unknown"
        )
        if found.gaps:
            lines.append(
                "that release estimated the noise wrongly where many pixels are NaN: if this image has such regions, "
                "start over with `ssi run --new`"
            )
    return lines


def list_changes(found: Comparison) -> list[str]:
    """Return the first of the changes, and how many more there are."""
    more = len(found.changed) - _LISTED
    return found.changed[:_LISTED] + ([f"... and {more} more"] if more > 0 else [])


def _refusal(context: Context, found: Comparison) -> str:
    config = context.document.config
    return "\n".join(
        [
            f"the input {config.input.path} is not what {config.output.path} was made from: "
            f"{found.tiles} of {found.compared} solved tiles were made from other pixels",
            *(f"  {line}" for line in list_changes(found)),
            "put the input back as it was and run again to resume, "
            "or start over with `ssi run --new` (the old output is kept aside)",
        ]
    )
