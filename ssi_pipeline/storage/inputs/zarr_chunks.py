"""Presence of a zarr array's chunk files: zarr silently reads a missing one as the fill value."""

from __future__ import annotations

import itertools
import math
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ssi_pipeline.config.url import Place, Url
from ssi_pipeline.storage.inputs.chunk_objects import are_there, is_number, listed_keys
from ssi_pipeline.storage.inputs.zarr_node import METADATA_FILES
from ssi_pipeline.storage.store import store_of

_SECONDS = 5.0
"""Time limit for listing all files of an array (10^6 take a second on a local disk); then a sample is checked."""

_SAMPLE = 2000
"""Sample size if listing takes too long: a fraction of one half is known to 2 %."""

_TRIED = 64
"""Chunks asked for by name, to find one, where files cannot be listed."""

_LISTED_FOR_EXAMPLE = 10_000
"""Files to inspect for one with another naming scheme."""

_LAYOUTS: tuple[tuple[Literal["c", ""], Literal["/", "."]], ...] = (("c", "/"), ("c", "."), ("", "/"), ("", "."))


@dataclass(frozen=True, slots=True)
class Presence:
    """Number of chunk files: ``present`` of ``looked_up``, of ``total``.

    ``outside``: a chunk file or folder outside of the stated shape, or None.
    """

    present: int
    looked_up: int
    total: int
    outside: Place | None = None

    @property
    def complete(self) -> bool:
        """Whether no checked file is missing."""
        return self.present == self.looked_up

    def describe_absent(self) -> str:
        """Describe the number of missing files."""
        absent = self.looked_up - self.present
        if self.looked_up == self.total:
            return f"{absent} of {self.total} chunk files are missing"
        share = 100 * absent / self.looked_up
        return f"about {share:.3g} % of {self.total} chunk files are missing ({absent} of {self.looked_up} checked)"


@dataclass(frozen=True, slots=True)
class ChunkFiles:
    """Layout of an array's files: ``prefix`` is ``c`` or empty, ``grid``: number of files along each axis."""

    folder: Place
    grid: tuple[int, ...]
    prefix: Literal["c", ""]
    separator: Literal["/", "."]

    @classmethod
    def of(cls, folder: Place, grid: Sequence[int], first_key: str) -> ChunkFiles:
        """Return the layout of an array with two axes or more from the key of its first chunk."""
        prefix: Literal["c", ""] = "c" if first_key.startswith("c") else ""
        return cls(folder, tuple(grid), prefix, "/" if "/" in first_key else ".")

    def name(self, cell: Sequence[int]) -> str:
        """Return the name of one chunk's file, relative to the array's folder."""
        return self.separator.join([*([self.prefix] if self.prefix else []), *map(str, cell)])

    def file(self, cell: Sequence[int]) -> Place:
        """Return the file of one chunk."""
        return self.folder / self.name(cell)

    @property
    def lists(self) -> bool:
        """Whether the files can be listed; on a web server they are asked for by name."""
        return store_of(self.folder).lists

    def first(self) -> Place | None:
        """Return the first chunk file found by listing the folder (else: of a sample), or None."""
        if not self.lists:
            return next((self.file(cell) for cell, there in self._sampled(_TRIED) if there), None)
        return next((self._place(path) for path, inside in self._entries() if inside), None)

    def count(self, seconds: float = _SECONDS) -> Presence:
        """Count the existing files, or check a sample if that takes longer than ``seconds``."""
        total, limit = math.prod(self.grid), time.monotonic() + seconds
        present, outside = 0, None
        if not self.lists:
            return self._sample(total, None)
        for path, inside in self._entries():
            present += inside
            outside = outside if inside else self._place(path)
            if present % 1000 == 0 and time.monotonic() > limit:
                return self._sample(total, outside)
        return Presence(present, total, total, outside)

    def _sample(self, total: int, outside: Place | None) -> Presence:
        found = [there for _, there in self._sampled(_SAMPLE)]
        return Presence(sum(found), len(found), total, outside)

    def _sampled(self, most: int) -> Iterator[tuple[tuple[int, ...], bool]]:
        """Yield random chunks and whether their files exist; all chunks, if they are few."""
        chance, total = random.Random(0), math.prod(self.grid)  # fixed seed: reproducible result
        drawn = (tuple(chance.randrange(n) for n in self.grid) for _ in range(most))
        cells = itertools.product(*map(range, self.grid)) if total <= most and not self.lists else drawn
        return are_there(store_of(self.folder), cells, self.name)

    def _place(self, path: str) -> Place:
        return self.folder / path if isinstance(self.folder, Url) else Path(path)

    def _entries(self) -> Iterator[tuple[str, bool]]:
        """Yield every chunk file and whether it is inside the grid; a folder outside counts as one."""
        if isinstance(self.folder, Url):
            yield from listed_keys(store_of(self.folder), self.grid, self.prefix, self.separator)
            return
        if self.separator == "/":
            yield from self._below(self.folder / self.prefix if self.prefix else self.folder, 0)
            return
        for entry in _scan(self.folder):
            prefix, *parts = entry.name.split(".") if self.prefix else ("", *entry.name.split("."))
            is_key = prefix == self.prefix and len(parts) == len(self.grid) and all(map(is_number, parts))
            if is_key and entry.is_file():
                yield entry.path, all(int(p) < n for p, n in zip(parts, self.grid, strict=True))

    def _below(self, folder: Path, axis: int) -> Iterator[tuple[str, bool]]:
        last = axis == len(self.grid) - 1
        for entry in _scan(folder):
            if not is_number(entry.name):
                continue
            inside = int(entry.name) < self.grid[axis]
            if inside and not last:
                yield from self._below(Path(entry.path), axis + 1)
            elif entry.is_file() if last else entry.is_dir():
                yield entry.path, inside

    def elsewhere(self) -> ChunkFiles | None:
        """Return another layout with existing chunk files, or None."""
        others = (ChunkFiles(self.folder, self.grid, prefix, separator) for prefix, separator in _LAYOUTS)
        return next((other for other in others if other != self and other.first() is not None), None)

    def example(self) -> Place | None:
        """Return any file other than metadata, or a dangling link, or None."""
        if isinstance(self.folder, Url):
            keys = (entry.key for entry in store_of(self.folder).list()) if self.lists else ()
            some = itertools.islice(keys, _LISTED_FOR_EXAMPLE)
            return next((self.folder / key for key in some if key.split("/")[-1] not in METADATA_FILES), None)
        walk = itertools.islice(
            (Path(root, name) for root, _, names in os.walk(self.folder) for name in sorted(names)), _LISTED_FOR_EXAMPLE
        )
        return next((file for file in walk if file.name not in METADATA_FILES), None)


def _scan(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return


def dangling_link(file: Place, folder: Place) -> Path | None:
    """Return the dangling link in place of a file or of a folder above it, below ``folder``; stores have no links."""
    if isinstance(file, Url):
        return None
    for path in (file, *file.parents):
        if path == folder:
            return None
        if path.is_symlink() and not path.exists():
            return path
    return None
