"""Where a lease is: the operations that a lock is made of, and a file as such a place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ssi_pipeline.storage.state.lease_file import (
    Holder,
    age_seconds,
    create,
    is_being_moved,
    is_held,
    read_holder,
    remove,
    renew,
)


class LeasePlace(Protocol):
    """Where a lease is, and what is atomic there: on a file system, or in an object store."""

    @property
    def name(self) -> str:
        """Name of the lock."""

    def create(self, holder: Holder) -> bool:
        """Create the lease unless there is one; tell whether it is the holder's.

        In a folder another client may move the file by mistake. Wait, then ask ``is_held``.
        """

    def read(self) -> Holder | None:
        """Return the holder, or None without one."""

    def renew(self, holder: Holder) -> bool:
        """Write a new counter; return False if the lease belongs to another holder."""

    def is_held(self, holder: Holder, settle: float) -> bool:
        """Tell whether a holder still has the lease; ``settle``: seconds until one moved by mistake is restored."""

    def remove(self, token: str) -> bool:
        """End the lease if it has this token; of several callers, one gets True."""

    def is_being_moved(self) -> bool:
        """Tell whether a client may be restoring a lease."""

    def age_seconds(self) -> float | None:
        """Return the time since the last renewal by the server's clock, or None if unknown."""


@dataclass(frozen=True, slots=True)
class FileLease:
    """A lease in a file, by the functions of ``lease_file``."""

    path: Path

    def __str__(self) -> str:
        """Return the file."""
        return str(self.path)

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.name

    def create(self, holder: Holder) -> bool:
        """Create the file atomically; return whether it is the holder's."""
        return create(self.path, holder)

    def read(self) -> Holder | None:
        """Return the holder, or None without a file."""
        return read_holder(self.path)

    def renew(self, holder: Holder) -> bool:
        """Write a new counter; return False if the file belongs to another holder."""
        return renew(self.path, holder)

    def is_held(self, holder: Holder, settle: float) -> bool:
        """Tell whether a holder still has its lock."""
        return is_held(self.path, holder, settle)

    def remove(self, token: str) -> bool:
        """Remove the file if it has this token."""
        return remove(self.path, token)

    def is_being_moved(self) -> bool:
        """Tell whether a client may be restoring the file."""
        return is_being_moved(self.path)

    def age_seconds(self) -> float | None:
        """Return the time since the last renewal by the file server's clock."""
        return age_seconds(self.path)
