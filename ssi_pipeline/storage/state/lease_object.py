"""Lease of a lock as an object, by conditional writes alone: ``If-None-Match`` to create, ``If-Match`` to change.

An object cannot be deleted on a condition. So a lease whose name others use, too, is marked as free instead, and who
comes next writes over the mark, on the condition that it is still that one.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any

from ssi_pipeline.errors import StoreError
from ssi_pipeline.storage.object_store import ObjectStore, Version
from ssi_pipeline.storage.state.lease_file import Holder, parse_holder


@dataclass(frozen=True, slots=True)
class ObjectLease:
    """A lease in ``store``. ``own``: nobody else creates an object of this name, so that it is deleted at the end."""

    store: ObjectStore
    name: str
    own: bool = False

    def __str__(self) -> str:
        """Return the object's URL."""
        return str(self.store.place / self.name)

    def create(self, holder: Holder) -> bool:
        """Create the object, or write over the mark of a free lease; of several callers, one gets True."""
        content = holder.to_bytes()
        if self.store.create(self.name, content):
            return True
        found = self._read()
        return found is not None and _is_free(found[0]) and self.store.replace(self.name, content, found[1])

    def read(self) -> Holder | None:
        """Return the holder; None without one: there is no object, or the mark of a free lease."""
        found = self._read()
        return None if found is None or _is_free(found[0]) else parse_holder(found[0])

    def renew(self, holder: Holder) -> bool:
        """Write a new counter; return False if the lease belongs to another holder.

        Raises
        ------
        FileNotFoundError
            There is no object.
        """
        content, version = self.store.read_versioned(self.name)
        if parse_holder(content).token != holder.token:
            return False
        return self.store.replace(self.name, holder.to_bytes(), version)

    def is_held(self, holder: Holder, settle: float) -> bool:  # noqa: ARG002 nothing is ever moved here
        """Tell whether a holder still has the lease."""
        found = self.read()
        return found is not None and found.token == holder.token

    def remove(self, token: str) -> bool:
        """End the lease if it has this token; of several callers, one gets True."""
        found = self._read()
        if found is None or _is_free(found[0]) or parse_holder(found[0]).token != token:
            return False
        won = self.store.replace(self.name, _free(), found[1])
        if won and self.own:
            self.store.delete(self.name)
        return won

    def is_being_moved(self) -> bool:
        """Return False: an object is changed in one step."""
        return False

    def age_seconds(self) -> float | None:
        """Return the time since the last renewal by the server's clock, or None if unknown."""
        probe = f"{self.name}.{secrets.token_hex(6)}.probe"
        try:
            self.store.write(probe, b"{}")
            new, old = self.store.look(probe), self.store.look(self.name)
            self.store.delete(probe)
        except StoreError:
            return None
        return None if new is None or old is None else float(new.changed) - float(old.changed)

    def _read(self) -> tuple[bytes, Version] | None:
        try:
            return self.store.read_versioned(self.name)
        except FileNotFoundError:
            return None


def _free() -> bytes:
    """Return a mark that no other is equal to, as ETags are compared."""
    return json.dumps({"free": secrets.token_hex(16)}).encode()


def _is_free(content: bytes) -> bool:
    try:
        found: Any = json.loads(content)
    except ValueError:
        return False
    return isinstance(found, dict) and "free" in found
