"""Atomic writes of small files: whole or absent."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ssi_pipeline.storage.system_errors import writing

_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)
"""Errors of file systems that cannot sync a folder (SMB, some FUSE)."""

_LEFT_BY_US = re.compile(
    r"\..+\.([0-9]+|[0-9a-f]{12}|[0-9a-f]{12}\.(new|taken|probe))\.partial|.+\.pt\.[0-9a-f]+\.partial"
)
"""Names of temporary files left by killed writers of this package: this module (earlier releases: the process id),
leases, networks."""

_LEFT_BY_ZARR = re.compile(r".+\.[0-9a-f]{32}\.partial")


def partial_name(path: Path) -> Path:
    """Return a temporary name beside a file, unique across processes and machines."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: a reader, also after a crash, sees the old or the new content."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text as ``write_bytes`` does."""
    write_bytes(path, text.encode(errors="backslashreplace"))  # lone surrogates from a file name


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document as ``write_bytes`` does."""
    write_text(path, json.dumps(document, indent=1, sort_keys=True) + "\n")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name, renamed to ``path`` on success and deleted on an exception.

    The content is synced before the rename: otherwise a crash could keep the rename, but lose the content and leave an
    empty file.
    """
    temporary = partial_name(path)
    with writing(path):
        try:
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
        finally:
            with suppress(OSError):  # a failure above is the one to report
                temporary.unlink(missing_ok=True)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file so that ``target`` is whole or absent."""
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def sync(path: Path) -> None:
    """Sync a file or a folder to disk; ignored on file systems that cannot sync folders."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if not (path.is_dir() and problem.errno in _CANNOT_SYNC):
            raise
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Sync a folder and everything below it to disk."""
    for folder, _, files in os.walk(root, topdown=False):
        for name in files:
            sync(Path(folder, name))
        sync(Path(folder))


def file_digest(path: Path) -> str | None:
    """Return 16 hexadecimal digits of a file's content, None where there is no file."""
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def create_whole(path: Path, content: bytes) -> bool:
    """Create a file atomically with its content; return False if the name exists."""
    private = partial_name(path)
    try:
        with private.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(private, path)
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise
    except OSError:
        # SFTP servers report an existing name as "not permitted"
        return False if path.exists() else _create_without_link(path, content)
    finally:
        private.unlink(missing_ok=True)
    return True


def _create_without_link(path: Path, content: bytes) -> bool:
    """For file systems without hard links; a reader may see the file before its content."""
    try:
        stream = path.open("xb")
    except FileExistsError:
        return False
    except PermissionError:
        if not path.exists():
            raise
        return False
    try:
        with stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        path.unlink(missing_ok=True)  # created by this call
        raise
    return True


def sweep_own(folders: Iterable[Path]) -> None:
    """Delete temporary files of killed writers of this package in some folders."""
    for folder in folders:
        if folder.is_dir():
            _sweep(folder, [entry.name for entry in os.scandir(folder)], _LEFT_BY_US)


def sweep_zarr(root: Path, below: Iterable[str]) -> None:
    """Delete zarr's temporary files in ``root``, and anywhere below the given subfolders."""
    if root.is_dir():
        _sweep(root, [entry.name for entry in os.scandir(root)], _LEFT_BY_ZARR)
    for name in below:
        for folder, _, files in os.walk(root / name):
            _sweep(Path(folder), files, _LEFT_BY_ZARR)


def _sweep(folder: Path, names: Iterable[str], pattern: re.Pattern[str]) -> None:
    for name in names:
        if pattern.fullmatch(name) and not (folder / name).is_dir():
            (folder / name).unlink(missing_ok=True)
