"""Small files that are either whole or absent."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with temporary.open("w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document as ``write_text`` does."""
    write_text(path, json.dumps(document, indent=1, sort_keys=True) + "\n")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a name to write to, which becomes ``path`` if nothing is raised, and is deleted otherwise."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file so that ``target`` is whole or absent."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    shutil.copyfile(source, temporary)
    temporary.replace(target)


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
