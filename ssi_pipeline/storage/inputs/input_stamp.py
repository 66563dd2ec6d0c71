"""Sizes and times of an input's files: equal ones say cheaply that nothing was written since.

They are a hint and no identity: a copy of the input has other times and is the same input.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ssi_pipeline.storage.inputs.source import Source

_THREADS = 32
"""A network file system answers a question about a file in about a millisecond, and many at a time."""

_GRAIN_S, _COARSE_GRAIN_S = 0.05, 2.0
"""Two changes within this time can have one mtime: some ticks of a kernel's clock; FAT and old file systems."""


@dataclass
class _Folder:
    """One folder: its files as bytes to be hashed, the folders in it, and the youngest file's mtime in ns."""

    files: list[bytes] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    youngest: int = 0

    def note(self, name: str, found: os.stat_result) -> None:
        """Take a file into account; ctime changes also where a tool puts the mtime back."""
        self.files.append(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ctime_ns}\n".encode())
        self.youngest = max(self.youngest, found.st_mtime_ns)


def input_stamp(source: Source) -> str:
    """Return 32 hexadecimal digits over name, size, mtime and ctime of every file that holds pixels.

    Where a file was written this moment it waits until a further change would have another time.

    Raises
    ------
    OSError
        A file or folder cannot be looked at.
    """
    stamp, youngest = _look(source.files())
    grain = _GRAIN_S if youngest % 10**9 else _COARSE_GRAIN_S
    age = time.time() - youngest / 1e9
    if not 0 <= age < grain:
        return stamp
    time.sleep(grain - age)
    return _look(source.files())[0]


def _look(paths: list[Path]) -> tuple[str, int]:
    digest, youngest = hashlib.blake2b(digest_size=16), 0
    for name, folder in _folders(paths):
        digest.update(f"{name}\n".encode())
        digest.update(b"".join(sorted(folder.files)))
        youngest = max(youngest, folder.youngest)
    return digest.hexdigest(), youngest


def _folders(paths: list[Path]) -> Iterator[tuple[str, _Folder]]:
    """Yield the files given, as of one folder, then every folder below those given: breadth first, in order of names.

    Names are relative to what was given: an input that is moved as a whole keeps them.
    """
    single = _Folder()
    for path in paths:
        if not path.is_dir():
            single.note(path.name, path.stat())
    yield "", single
    seen: set[tuple[int, int]] = set()  # links may lead in a circle
    level = [(f"{i}", str(path)) for i, path in enumerate(paths) if path.is_dir()]
    with ThreadPoolExecutor(_THREADS) as threads:
        while level:
            below: list[tuple[str, str]] = []
            for (name, place), (at, folder) in zip(level, threads.map(_scan, [at for _, at in level]), strict=True):
                if at in seen:
                    continue
                seen.add(at)
                yield name, folder
                below += [(f"{name}/{inner}", f"{place}/{inner}") for inner in folder.folders]
            level = below


def _scan(path: str) -> tuple[tuple[int, int], _Folder]:
    """Return which folder it is, and what is in it."""
    folder, own = _Folder(), os.stat(path)
    with os.scandir(path) as entries:
        for entry in entries:
            try:
                found = entry.stat()
            except FileNotFoundError:
                found = entry.stat(follow_symlinks=False)  # a link to nothing
            if stat.S_ISDIR(found.st_mode):
                folder.folders.append(entry.name)
            else:
                folder.note(entry.name, found)
    folder.folders.sort()
    return (own.st_dev, own.st_ino), folder
