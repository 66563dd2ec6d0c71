"""Small files that are either whole or absent."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ssi_pipeline.storage.system_errors import writing

_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)
"""What file systems say that cannot sync a folder (SMB, some FUSE)."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash of the machine, sees the old content or the new, never a part."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text as ``write_bytes`` does."""
    write_bytes(path, text.encode())


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document as ``write_bytes`` does."""
    write_text(path, json.dumps(document, indent=1, sort_keys=True) + "\n")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a name to write to, which becomes ``path`` if nothing is raised, and is deleted otherwise.

    The content is on disk before it gets its name: a rename alone may survive a crash that the content does not,
    and leaves an empty file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with writing(path):
        try:
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
        finally:
            with suppress(OSError):  # a file system that fails here has failed above, and that is the reason to give
                temporary.unlink(missing_ok=True)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file so that ``target`` is whole or absent."""
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to disk; a file system that cannot do it for folders is let be."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if not (path.is_dir() and problem.errno in _CANNOT_SYNC):
            raise
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Force a folder and all below it to disk."""
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


def sweep_partial_files(*roots: Path) -> None:
    """Delete what a killed writer left behind: files that were never renamed to their final name."""
    for root in roots:
        for folder, _, files in os.walk(root):
            for name in files:
                if name.endswith(".partial"):
                    Path(folder, name).unlink(missing_ok=True)
