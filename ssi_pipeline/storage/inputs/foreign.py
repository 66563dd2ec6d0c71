"""Files that hold something else than they should: pointers of version control, web pages, NUL bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ssi_pipeline.errors import InputError

HEAD = 1024
"""Bytes that tell; the specification of Git LFS keeps a pointer below this size."""


def describe_pointer(head: bytes) -> str | None:
    """Return what a file stands for instead of holding it, and what to do, from its first bytes; None for data."""
    start = head.lstrip()[:64].lower()
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer and not the file itself: run `git lfs pull` where the image was cloned"
    if b"/annex/objects/" in head[:256]:
        return "is a git-annex pointer and not the file itself: run `git annex get` where the image was cloned"
    if start.startswith((b"<!doctype html", b"<html")):
        return "is a web page (HTML) and not the file itself: the download failed"
    return None


def _describe_damage(head: bytes) -> str | None:
    if not head:
        return "is empty: copy it again"
    if not head.strip(b"\0"):
        return "holds only NUL bytes, as a failed disk or an interrupted copy leaves them: copy it again"
    return describe_pointer(head)


def read_json(file: Path, where: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises
    ------
    InputError
        The file cannot be read, is something else, or ends early; names it.
    """
    try:
        data = file.read_bytes()
    except PermissionError:
        raise
    except OSError as error:
        raise InputError(f"{where}: {file} cannot be read: {error}") from error
    foreign = _describe_damage(data[:HEAD])
    if foreign:
        raise InputError(f"{where} is no readable zarr: {file} {foreign}")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:  # cut off, not UTF-8, numbers without end, nested without end
        raise InputError(
            f"{where} is no readable zarr: {file} ({len(data)} bytes) is no complete JSON "
            f"({type(error).__name__}: {str(error)[:200]}): copy it again, or write it anew"
        ) from error
    if not isinstance(document, dict):
        raise InputError(
            f"{where} is no readable zarr: {file} holds a {type(document).__name__}, expected a JSON object"
        )
    return document
