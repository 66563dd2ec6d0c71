"""Partial reads of a TIFF page: only the needed strips or tiles are read and decoded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def file_of(page: Any) -> Path:
    """Return the file of a page; a multi-file OME-TIFF has several."""
    return Path(page.parent.filehandle.path)


def is_in_one_piece(page: Any) -> bool:
    """Tell whether the strips of a page are contiguous; tifffile checks only the first page of a series."""
    ends = [a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
    return (
        all(end == start for end, start in zip(ends, page.dataoffsets[1:], strict=False))
        and 0 not in (page.databytecounts[:1])
    )


def decode_plane(page: Any, inside: tuple[slice, ...], out: NDArray[Any]) -> None:
    """Decode the part ``inside`` of a page into ``out``; axes of both as the page has them: YX, SYX or YXS.

    Raises
    ------
    EOFError
        The file ends inside a strip or tile.
    """
    axes = page.keyframe.axes
    if axes == "YXS":
        out, inside = np.moveaxis(out, -1, 0), (inside[2], *inside[:2])
    elif axes == "YX":
        out, inside = out[np.newaxis], (slice(0, 1), *inside)
    key, separate = page.keyframe, axes == "SYX"
    samples, rows, columns = inside
    with file_of(page).open("rb", buffering=0) as file:
        for sample in range(samples.start, samples.stop) if separate else [0]:
            for number, top, left in _segments(key, sample, rows, columns):
                height, width = _size(key)
                a, b = max(rows.start, top), min(rows.stop, top + height)
                p, q = max(columns.start, left), min(columns.stop, left + width)
                which = slice(sample - samples.start, sample - samples.start + 1) if separate else slice(None)
                target = out[which, a - rows.start : b - rows.start, p - columns.start : q - columns.start]
                data = _segment(page, number, file.fileno())
                if data is None:
                    target[...] = key.nodata
                    continue
                decoded = key.decode(data, number, jpegtables=page.jpegtables)[0]  # depth, length, width, samples
                part = decoded[0, a - top : b - top, p - left : q - left]
                target[...] = np.moveaxis(part if separate else part[..., samples], -1, 0)


def _size(key: Any) -> tuple[int, int]:
    return (key.tilelength, key.tilewidth) if key.is_tiled else (key.rowsperstrip, key.imagewidth)


def _segments(key: Any, sample: int, rows: slice, columns: slice) -> Iterator[tuple[int, int, int]]:
    """Yield number, first row and first column of the strips or tiles in a rectangle of one sample plane."""
    height, width = _size(key)
    across, down = -(-key.imagewidth // width), -(-key.imagelength // height)
    for row in range(rows.start // height, (rows.stop - 1) // height + 1):
        for column in range(columns.start // width, (columns.stop - 1) // width + 1):
            yield (sample * down + row) * across + column, row * height, column * width


def _segment(page: Any, number: int, file: int) -> bytes | None:
    """Return the bytes of a strip or tile; None if absent, as in sparse files."""
    count = page.databytecounts[number]
    if not count:
        return None
    data = os.pread(file, count, page.dataoffsets[number])
    if len(data) < count:
        raise EOFError(f"the file ends inside its segment {number}")
    return data
