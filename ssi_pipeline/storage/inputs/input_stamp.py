"""Stamp of an input's file sizes and times: a cheap check that nothing was written since.

A stamp is a hint, not an identity: a copy of the input has other times and is the same input.
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

from ssi_pipeline.config.url import Url
from ssi_pipeline.storage.entry import Entry
from ssi_pipeline.storage.inputs.source_protocol import Source
from ssi_pipeline.storage.store import store_of

_THREADS = 32
"""Parallel stat calls: each takes about a millisecond on a network file system."""

_GRAIN_S, _COARSE_GRAIN_S = 0.05, 2.0
"""Two changes within this time can have the same mtime: kernel clock ticks; FAT and old file systems."""


@dataclass
class _Folder:
    """One folder: its files as bytes to hash, its subfolders, and the latest mtime in ns."""

    files: list[bytes] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    youngest: int = 0

    def note(self, name: str, found: os.stat_result) -> None:
        """Add a file; its ctime changes even if a tool restores the mtime."""
        self.files.append(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ctime_ns}\n".encode())
        self.youngest = max(self.youngest, found.st_mtime_ns)


def input_stamp(*sources: Source) -> str | None:
    """Return 32 hexadecimal digits over name, size, mtime and ctime (key, size and ETag) of every file of pixels.

    If a file was just written, wait until another change would get a different time. None where a web server tells
    neither an ETag nor a time of change.

    Raises
    ------
    OSError
        A file or folder is not accessible.
    """
    places = [place for source in sources for place in source.files()]
    files = [place for place in places if isinstance(place, Path)]
    if urls := [place for place in places if isinstance(place, Url)]:
        tags = _tags(urls)
        return tags and tags + (_file_stamp(files) if files else "")
    return _file_stamp(files)


def _file_stamp(files: list[Path]) -> str:
    """Return the stamp of files and folders of a file system."""
    stamp, youngest = _look(files)
    grain = _GRAIN_S if youngest % 10**9 else _COARSE_GRAIN_S
    age = time.time() - youngest / 1e9
    if not 0 <= age < grain:
        return stamp
    time.sleep(grain - age)
    return _look(files)[0]


def _tags(urls: list[Url]) -> str | None:
    """Return 32 digits over key, size and tag of every object, listed or asked for one by one; None without tags."""
    digest = hashlib.blake2b(digest_size=16)
    with ThreadPoolExecutor(_THREADS) as threads:
        for number, found in enumerate(threads.map(_entries, urls)):
            if not all(entry.tag for entry in found):
                return None
            lines = (f"{entry.key}\0{entry.size}\0{entry.tag}\n" for entry in found)
            digest.update("".join([f"{number}\n", *sorted(lines)]).encode())
    return digest.hexdigest()


def _entries(url: Url) -> list[Entry]:
    store = store_of(url)
    if store.lists:
        return list(store.list())
    found = store.look("")
    return [] if found is None else [found]


def _look(paths: list[Path]) -> tuple[str, int]:
    digest, youngest = hashlib.blake2b(digest_size=16), 0
    for name, folder in _folders(paths):
        digest.update(f"{name}\n".encode())
        digest.update(b"".join(sorted(folder.files)))
        youngest = max(youngest, folder.youngest)
    return digest.hexdigest(), youngest


def _folders(paths: list[Path]) -> Iterator[tuple[str, _Folder]]:
    """Yield the given files as one folder, then every folder below the given ones, breadth first, sorted by name.

    Names are relative: moving the whole input does not change them.
    """
    single = _Folder()
    for path in paths:
        if not path.is_dir():
            single.note(path.name, path.stat())
    yield "", single
    seen: set[tuple[int, int]] = set()  # links may be circular
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
    """Return identity and contents of a folder."""
    folder, own = _Folder(), os.stat(path)
    with os.scandir(path) as entries:
        for entry in entries:
            try:
                found = entry.stat()
            except FileNotFoundError:
                found = entry.stat(follow_symlinks=False)  # a dangling link
            if stat.S_ISDIR(found.st_mode):
                folder.folders.append(entry.name)
            else:
                folder.note(entry.name, found)
    folder.folders.sort()
    return (own.st_dev, own.st_ino), folder
