"""Chain of image file directories of a TIFF, read without tifffile, to check that stated data exist.

    header ─▶ directory 0 ─▶ directory 1 ─▶ ... ─▶ 0
                  │ offsets and byte counts of strips or tiles, in place or in arrays of their own

tifffile follows the chain as far as possible, and fills or skips missing data.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_PAGES = 1_000_000
"""Most pages: walking them takes seconds, opening them with tifffile minutes."""

_READ_ARRAYS = 10_000
"""Most pages whose offset arrays are checked; of more, a sample over the file."""

_CHUNK = 1024
"""A directory of 80 entries; most have 15 to 30."""

_MOST_TAGS = 4096
_LARGEST_ARRAY = 2**28
_DESCRIPTION, _STRIPS, _STRIP_COUNTS, _TILES, _TILE_COUNTS, _LSM = 270, 273, 279, 324, 325, 34412
_LAYOUT = {256: 0, 257: 0, 258: 1, 259: 1, 277: 1, 284: 1, 317: 1, 322: 0, 323: 0, 339: 1}
"""Layout tags with their defaults: size, bits, compression, samples, order, predictor, tile size, format."""

_WANTED = frozenset((_DESCRIPTION, _STRIPS, _STRIP_COUNTS, _TILES, _TILE_COUNTS, _LSM, *_LAYOUT))
_TYPES = {3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}


@dataclass(frozen=True, slots=True)
class Directories:
    """Summary of the directory chain of one file.

    ``pages``: complete directories. ``complete``: pages of these whose strips or tiles are within the
    file. ``absent`` of ``segments``: strips or tiles of 0 bytes, which read as no data. ``problem``: reason for a
    broken chain or incomplete pages, or empty. ``second``: stated offset of the second directory, or 0: many writers
    put the pixels of all pages before it.
    ``layouts``: by page, a number that is the same for pages of the same width, length, bits and compression.
    """

    size: int
    pages: int
    complete: int
    absent: int
    segments: int
    problem: str
    second: int = 0
    layouts: tuple[int, ...] = ()


@dataclass(slots=True)
class _Format:
    """Byte order and widths: classic TIFF has offsets of 4 bytes, BigTIFF of 8."""

    order: str
    big: bool

    count: struct.Struct = field(init=False)
    entry: struct.Struct = field(init=False)
    offset: struct.Struct = field(init=False)
    single: dict[int, struct.Struct] = field(init=False)

    def __post_init__(self) -> None:
        """Compile the formats once, as they are used for each page."""
        self.count = struct.Struct(self.order + ("Q" if self.big else "H"))
        self.entry = struct.Struct(self.order + ("HHQ8s" if self.big else "HHI4s"))
        self.offset = struct.Struct(self.order + ("Q" if self.big else "I"))
        # fast path for pages of one strip, the most common: arrays of one number take twice the time
        kinds = {3: "H", 4: "I", 13: "I"} | ({16: "Q", 18: "Q"} if self.big else {})
        self.single = {kind: struct.Struct(self.order + letter) for kind, letter in kinds.items()}


Entry = tuple[int, int, bytes]
"""Type, count, and the value or its offset."""


@dataclass(slots=True)
class _Walk:
    """State of one walk along the chain."""

    file: int
    size: int
    form: _Format
    pages: list[dict[int, Entry]] = field(default_factory=list)
    problem: str = ""
    second: int = 0
    layouts: list[int] = field(default_factory=list)
    known: dict[tuple[tuple[int, int], ...], int] = field(default_factory=dict)
    known_as_written: dict[tuple[Entry | None, ...], int] = field(default_factory=dict)

    def follow(self, offset: int) -> None:
        """Read all directories, from the first one's offset on."""
        seen: set[int] = set()
        while offset:
            number = len(self.pages)
            self.second = offset if number == 1 else self.second
            if offset in seen:
                self.problem = f"its chain of page directories is circular after page {number}"
                return
            if number >= _MOST_PAGES:
                self.problem = f"it has more than {_MOST_PAGES} pages: convert it to OME-Zarr"
                return
            seen.add(offset)
            found = self._directory(offset)
            if found is None:
                self.problem = (
                    f"the directory of page {number} should be at byte {offset}, but the file has {self.size} bytes"
                    if offset + self.form.count.size > self.size
                    else f"there is no complete directory of page {number} at byte {offset} (of {self.size})"
                )
                return
            entries, offset = found
            self.pages.append(entries)
            self.layouts.append(self._layout_number(entries))

    def _layout_number(self, entries: dict[int, Entry]) -> int:
        written = tuple(map(entries.get, _LAYOUT))  # most pages have the same layout
        if written not in self.known_as_written:
            self.known_as_written[written] = self.known.setdefault(self._layout(entries), len(self.known))
        return self.known_as_written[written]

    def _layout(self, entries: dict[int, Entry]) -> tuple[tuple[int, int], ...]:
        single = self.form.single
        found = []
        for code, default in _LAYOUT.items():
            entry = entries.get(code)
            if entry is not None and entry[1] == 1 and entry[0] in single:
                value = single[entry[0]].unpack_from(entry[2])[0]
                if value != default:
                    found.append((code, value))
        return tuple(found)

    def _directory(self, offset: int) -> tuple[dict[int, Entry], int] | None:
        count, entry, link = self.form.count, self.form.entry, self.form.offset
        if offset >= self.size:
            return None
        data = os.pread(self.file, _CHUNK, offset)
        if len(data) < count.size:
            return None
        (tags,) = count.unpack_from(data)
        if not 0 < tags <= _MOST_TAGS:
            return None
        end = count.size + tags * entry.size
        if end + link.size > len(data):
            data = os.pread(self.file, end + link.size, offset)
            if len(data) < end + link.size:
                return None
        entries = {
            code: (kind, number, value)
            for code, kind, number, value in entry.iter_unpack(data[count.size : end])
            if code in _WANTED
        }
        return entries, int(link.unpack_from(data, end)[0])

    def values(self, entry: Entry) -> NDArray[Any] | None:
        """Return the numbers of an entry; None if the type is not valid for offsets and counts.

        Raises
        ------
        EOFError
            They extend beyond the file.
        """
        kind, count, value = entry
        if kind not in _TYPES:
            return None
        dtype = np.dtype(self.form.order + _TYPES[kind])
        if count * dtype.itemsize > len(value):
            start = self.start(entry)
            if count * dtype.itemsize > _LARGEST_ARRAY or start + count * dtype.itemsize > self.size:
                raise EOFError
            value = os.pread(self.file, count * dtype.itemsize, start)
        return np.frombuffer(value, dtype, count)

    def start(self, entry: Entry) -> int:
        """Return the offset of a value that does not fit into its entry."""
        return int(self.form.offset.unpack_from(entry[2])[0])

    def outside(self, entry: Entry) -> bool:
        """Tell whether the value of an entry extends beyond the file."""
        size = _SIZES.get(entry[0], 0) * entry[1]
        return size > len(entry[2]) and self.start(entry) + size > self.size


def read_directories(path: Path) -> Directories:
    """Walk the chain of directories of a TIFF or BigTIFF; 100,000 pages take about a second.

    For files with other offset conventions (LSM, classic TIFF beyond 4 GiB) only circular chains are reported.
    """
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        header = os.pread(file.fileno(), 16, 0)
        form = _Format(">" if header[:2] == b"MM" else "<", header[2:4] in (b"+\0", b"\0+"))
        start = 8 if form.big else 4
        if len(header) < start + form.offset.size:
            return Directories(size, 0, 0, 0, 0, f"the file ends inside its header, after {size} bytes")
        walk = _Walk(file.fileno(), size, form)
        (first,) = form.offset.unpack_from(header, start)
        walk.follow(first)
        own_offsets = (not form.big and size > 2**32) or (bool(walk.pages) and _LSM in walk.pages[0])
        if own_offsets:
            problem = walk.problem if "circle" in walk.problem else ""
            pages = len(walk.pages)
            return Directories(size, pages, pages, 0, 0, problem, walk.second, tuple(walk.layouts))
        return _with_segments(walk)


def _with_segments(walk: _Walk) -> Directories:
    pages = len(walk.pages)
    step = max(1, -(-pages // _READ_ARRAYS))
    incomplete, absent, segments = [], 0, 0
    for number, entries in enumerate(walk.pages):
        looked_into = number % step == 0 or number == pages - 1
        try:
            counts = _counts(walk, entries, looked_into)
        except EOFError:
            incomplete.append(number)
            continue
        absent, segments = absent + counts[0], segments + counts[1]
    problem = walk.problem
    if pages and _DESCRIPTION in walk.pages[0] and walk.outside(walk.pages[0][_DESCRIPTION]):
        problem = problem or f"its description lies beyond its end (byte {walk.size})"
    if incomplete:
        problem = problem or f"pixels of page {incomplete[0]} lie beyond its end (byte {walk.size})"
    complete = pages - len(incomplete)
    return Directories(walk.size, pages, complete, absent, segments, problem, walk.second, tuple(walk.layouts))


def _counts(walk: _Walk, entries: dict[int, Entry], looked_into: bool) -> tuple[int, int]:
    """Return the number of segments of 0 bytes of a page, and of all segments.

    Raises
    ------
    EOFError
        A segment or the list extends beyond the file.
    """
    offsets, counts = (entries.get(a, entries.get(b)) for a, b in ((_TILES, _STRIPS), (_TILE_COUNTS, _STRIP_COUNTS)))
    if offsets is None or counts is None:
        return 0, 0
    if walk.outside(offsets) or walk.outside(counts):
        raise EOFError
    if not looked_into and max(offsets[1], counts[1]) > 1:
        return 0, 0
    single = walk.form.single
    if offsets[1] == counts[1] == 1 and offsets[0] in single and counts[0] in single:
        start, length = (single[kind].unpack_from(value)[0] for kind, _, value in (offsets, counts))
        if length and start + length > walk.size:
            raise EOFError
        return int(length == 0), 1
    starts, lengths = walk.values(offsets), walk.values(counts)
    if starts is None or lengths is None:
        return 0, 0
    many = min(len(starts), len(lengths))
    starts, lengths = starts[:many].astype(np.float64), lengths[:many].astype(np.float64)  # no sum overflows
    if ((lengths > 0) & (starts + lengths > walk.size)).any():
        raise EOFError
    return int((lengths == 0).sum()), many
