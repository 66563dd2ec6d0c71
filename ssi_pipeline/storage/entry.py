"""A file in a store: what is known of it without reading it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: its key, its size in bytes, and a tag that changes with its content.

    On a file system the tag is made of the times of the file; in an object store it is the ETag
    with the time of the last change. Empty: unknown.
    """

    key: str
    size: int
    etag: str
