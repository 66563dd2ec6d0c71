"""Files of a folder by name, on a file system or in an object store: the one seam between both.

A store knows nothing of zarr's content. What it promises is in ``tests/contract/test_stores.py``, which every
implementation passes. Names ("keys") are relative to the folder, joined with ``/``.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ssi_pipeline.config.url import Place, Url
from ssi_pipeline.storage.atomic import create_whole, write_bytes
from ssi_pipeline.storage.entry import Entry
from ssi_pipeline.storage.small_files import read_json, read_small

if TYPE_CHECKING:
    import zarr
    from zarr.storage import StoreLike


class Store(Protocol):
    """Files below a folder. Thread-safe; opening one makes no request."""

    @property
    def place(self) -> Place:
        """The folder."""

    @property
    def lists(self) -> bool:
        """Whether ``list`` works: web servers have no list of their files."""

    def read(self, key: str) -> bytes:
        """Return a file's content.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        PermissionError
            It may not be read, or, in some stores, does not exist and the folder may not be listed.
        StoreError
            The store does not answer.
        """

    def look(self, key: str) -> Entry | None:
        """Return size and tag of a file; None without one. Raises as ``read`` does otherwise."""

    def exists(self, key: str) -> bool:
        """Tell whether there is such a file."""

    def names(self) -> frozenset[str]:
        """Return the names of files and folders in this folder; none where there is no such folder."""

    def list(self, below: str = "") -> Iterator[Entry]:
        """Yield the files below a folder, as they are found, in any order; none where there is no such folder."""

    def write(self, key: str, content: bytes) -> None:
        """Write a file: whoever reads it sees the old content or the new one."""

    def create(self, key: str, content: bytes) -> bool:
        """Write a file unless it exists; of several writers at one moment exactly one gets True.

        Their contents must differ, as those of locks do, which name their holder: where the answer to a request was
        lost, the content tells whose the file is.
        """

    def delete(self, key: str) -> None:
        """Delete a file, if it exists."""

    def zarr(self, below: str = "", *, writable: bool = False) -> StoreLike:
        """Return zarr's view of an existing group or array in the folder ``below``."""


@dataclass(frozen=True, slots=True)
class FileStore:
    """A folder of a file system."""

    place: Path
    lists: bool = True

    def read(self, key: str) -> bytes:
        """Return a file's content; also while another machine replaces it."""
        return read_small(self.place / key)

    def look(self, key: str) -> Entry | None:
        """Return size and tag of a regular file."""
        try:
            found = (self.place / key).stat()  # a single call: each is slow over a network
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _entry(key, found) if stat.S_ISREG(found.st_mode) else None

    def exists(self, key: str) -> bool:
        """Tell whether there is such a regular file."""
        return (self.place / key).is_file()

    def names(self) -> frozenset[str]:
        """Return the names of files and folders in this folder."""
        return frozenset(os.listdir(self.place)) if self.place.is_dir() else frozenset()

    def list(self, below: str = "") -> Iterator[Entry]:
        """Yield the files below a folder."""
        for folder, _, names in os.walk(self.place / below):
            for name in names:
                path = Path(folder, name)
                yield _entry(path.relative_to(self.place).as_posix(), path.stat())

    def write(self, key: str, content: bytes) -> None:
        """Write a file under another name and rename it; missing folders are created."""
        (self.place / key).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(self.place / key, content)

    def create(self, key: str, content: bytes) -> bool:
        """Write a file unless it exists; missing folders are created."""
        (self.place / key).parent.mkdir(parents=True, exist_ok=True)
        return create_whole(self.place / key, content)

    def delete(self, key: str) -> None:
        """Delete a file, if it exists."""
        (self.place / key).unlink(missing_ok=True)

    def zarr(self, below: str = "", *, writable: bool = False) -> StoreLike:
        """Return a store that notices a lost mount."""
        from ssi_pipeline.storage.mounted_store import mounted

        return mounted(self.place / below, writable)


def _entry(key: str, found: os.stat_result) -> Entry:
    return Entry(key, found.st_size, "", f"{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_size}")


def path_in(folder: Place, place: Place) -> str:
    """Return the way from a folder to a place, with ``/``; both are in the same store."""
    at, start = (f"/{p.key}" if isinstance(p, Url) else str(p) for p in (place, folder))
    return os.path.relpath(at, start).replace(os.sep, "/")


def store_of(place: Place) -> Store:
    """Return the store of a folder.

    Raises
    ------
    MissingPackageError
        The place is a URL, and obstore is not installed.
    """
    if isinstance(place, Url):
        from ssi_pipeline.storage.object_store import open_object_store

        return open_object_store(place)
    return FileStore(place)


def read_json_of(file: Place) -> Any:
    """Parse a JSON file of a run or an output. Raises as ``Store.read`` does, and ValueError where it is no JSON."""
    return json.loads(store_of(file.parent).read(file.name)) if isinstance(file, Url) else read_json(file)


def write_file(file: Place, content: bytes) -> None:
    """Write a file, as ``Store.write`` does, in a folder that exists."""
    if isinstance(file, Url):
        store_of(file.parent).write(file.name, content)
    else:
        write_bytes(file, content)


def open_array(place: Place) -> zarr.Array[Any]:
    """Open a zarr array for reading."""
    import zarr

    return zarr.open_array(store_of(place).zarr(), mode="r")
