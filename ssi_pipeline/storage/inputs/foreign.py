"""Detection of foreign file contents: version-control pointers, web pages, NUL bytes."""

from __future__ import annotations

import json
from typing import Any

from ssi_pipeline.errors import InputError, StoreError
from ssi_pipeline.storage.store import Store

HEAD = 1024
"""Bytes to inspect; a Git LFS pointer is smaller by its specification."""


def describe_pointer(head: bytes) -> str | None:
    """Describe a pointer or a web page by the first bytes of a file, with the action; None for data."""
    start = head.lstrip()[:64].lower()
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself: run `git lfs pull` in the clone"
    if b"/annex/objects/" in head[:256]:
        return "is a git-annex pointer, not the file itself: run `git annex get` in the clone"
    if start.startswith((b"<!doctype html", b"<html")):
        return "is a web page (HTML), not the file itself: the download failed"
    return None


def _describe_damage(head: bytes) -> str | None:
    if not head:
        return "is empty: copy it again"
    if not head.strip(b"\0"):
        return "contains only NUL bytes (failed disk or interrupted copy): copy it again"
    return describe_pointer(head)


def read_json(store: Store, key: str, where: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises
    ------
    InputError
        The file is unreadable, foreign or truncated.
    """
    file = store.place / key
    try:
        data = store.read(key)
    except (PermissionError, StoreError):
        raise
    except OSError as error:
        raise InputError(f"{where}: {file} cannot be read: {error}") from error
    foreign = _describe_damage(data[:HEAD])
    if foreign:
        raise InputError(f"{where} is not a readable zarr: {file} {foreign}")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:  # truncated, not UTF-8, huge numbers, deep nesting
        raise InputError(
            f"{where} is not a readable zarr: {file} ({len(data)} bytes) is no complete JSON "
            f"({type(error).__name__}: {str(error)[:200]}): copy it again, or rewrite it"
        ) from error
    if not isinstance(document, dict):
        raise InputError(
            f"{where} is not a readable zarr: {file} holds a {type(document).__name__}, expected a JSON object"
        )
    return document
