"""A file in a store: what is known of it without reading it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: its key, its size in bytes, and what changes with its content.

    ``etag``: what an object store says of the content alone; empty on a file system. ``changed``: times of the file, or
    time of the object's last change. Empty: unknown.
    """

    key: str
    size: int
    etag: str
    changed: str

    @property
    def tag(self) -> str:
        """Changes with the content, also where an object was lost and restored; empty: unknown."""
        return f"{self.etag} {self.changed}".strip()
