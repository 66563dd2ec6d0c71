"""An output in an object store: a shard is an object, and so whole or absent; a group is there with its metadata.

An object store has no rename and no folder. Its locks are objects beside the output, in ``.NAME.locks/``.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from ssi_pipeline.config.url import Url
from ssi_pipeline.errors import OutputError, StoreError
from ssi_pipeline.storage.object_errors import lost
from ssi_pipeline.storage.object_store import ObjectStore, Version, open_object_store
from ssi_pipeline.storage.outputs.zarr_metadata import GROUP_FILES
from ssi_pipeline.storage.state.lease_object import ObjectLease

_THREADS = 16
"""Small objects written at a time: a request costs time and hardly any data."""

_AT_ONCE = 4
"""Objects of a group that are held in memory and written at a time: a shard of labels has tens of megabytes."""

_NONE: Version = {"e_tag": '"0"', "version": "0"}
"""That of no object."""

_GATE, _LEASE = "gate", ".lease"

_LOCK_PATIENCE_S = 10
"""For requests about locks: the last repetition is over well before a minute, after which another takes a lock over."""


@dataclass(slots=True)
class ObjectPresence:
    """The metadata of an output: an object store that lost its data, or a bucket made anew, takes writes as before."""

    store: ObjectStore
    name: str = GROUP_FILES[0]

    def check(self) -> None:
        """Check that they are there: one request, once it is known which of two files has them.

        Raises
        ------
        StoreError
            They are not, or the store does not answer.
        """
        if self.store.exists(self.name):
            return
        found = next(filter(self.store.exists, GROUP_FILES), None)
        if found is None:
            raise lost(self.store.place)
        self.name = found


@dataclass(frozen=True, slots=True)
class OutputObjects:
    """The objects whose names begin with that of ``place``."""

    place: Url

    def exists(self) -> bool:
        """Tell whether there is an object: one request."""
        return bool(self._files.names())

    def is_folder(self) -> bool:
        """Return True: each name may be that of a folder."""
        return True

    def above_exists(self) -> bool:
        """Return True: there are no folders."""
        return True

    @property
    def lists_fast(self) -> bool:
        """Return True: a thousand objects."""
        return True

    def disk(self) -> None:
        """Return None: what is free is not known, and the locks are the first that is written."""

    def create(self, files: Mapping[str, bytes], token: str) -> None:  # noqa: ARG002 a folder needs it
        """Write the metadata of arrays and inner groups, then those of the output."""
        _write(self._files, files)

    def replace(self, name: str, files: Iterable[tuple[str, bytes]]) -> None:
        """Write arrays, then the metadata of the group; then delete what an earlier group had more."""
        store = open_object_store(self.place / name)
        names = _write_few_at_a_time(store, iter(files))
        for entry in list(store.list()):
            if entry.key not in names:
                store.delete(entry.key)

    def presence(self) -> ObjectPresence:
        """Return the check of its metadata."""
        return ObjectPresence(self._files)

    def refuse_to_move(self) -> None:
        """Refuse: to copy each object and delete it would take as long as the run, and be neither whole nor absent.

        Raises
        ------
        OutputError
            Always.
        """
        raise OutputError(
            f"{self.place} exists, and an object store has no rename to keep it as a backup: choose another "
            "output.path and output.state, or move it with the store's own tool (aws s3 mv, rclone move)"
        )

    def move_to_backup(self, tail: str) -> Url:  # noqa: ARG002 refused
        """Refuse."""
        self.refuse_to_move()
        return self.place

    def sweep(self, groups: Iterable[str]) -> None:
        """Do nothing: an object that was not written to its end does not exist."""

    def prepare_locks(self) -> None:
        """Prove that the store heeds conditions: one that ignores them would give a lock to everyone.

        Raises
        ------
        OutputError
            It ignores them.
        StoreError
            It may not be written, or does not answer.
        """
        store, key = self._locks, f"probe-{secrets.token_hex(8)}"
        with _explained(self.place):
            try:
                heeds = store.create(key, b"1") and not store.create(key, b"2") and not store.replace(key, b"3", _NONE)
            finally:
                store.delete(key)
        if not heeds:
            raise OutputError(
                f"{self.place}: the store ignores the conditions of writes (If-None-Match, If-Match), so that two runs "
                "could not be kept apart: update the server, or run to a disk and copy the output"
            )

    def gate(self) -> ObjectLease:
        """Return the object that is held while leases are looked at; it stays, marked as free."""
        return ObjectLease(self._locks, _GATE)

    def lease(self, number: str) -> ObjectLease:
        """Return the lease of a client."""
        return ObjectLease(self._locks, f"{number}{_LEASE}", own=True)

    def leases(self) -> list[ObjectLease]:
        """Return the leases: one request."""
        return [ObjectLease(self._locks, name, own=True) for name in self._locks.names() if name.endswith(_LEASE)]

    @property
    def _files(self) -> ObjectStore:
        return open_object_store(self.place)

    @property
    def _locks(self) -> ObjectStore:
        return open_object_store(self.place.with_name(f".{self.place.name}.locks"), _LOCK_PATIENCE_S)


@contextmanager
def _explained(place: Url) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"{place}: there is no such bucket: create it, or choose another output.path") from error


def _write_few_at_a_time(store: ObjectStore, files: Iterator[tuple[str, bytes]]) -> set[str]:
    """Write objects in the order given, the group's own metadata last; return the names of all."""
    names: set[str] = set()
    top: dict[str, bytes] = {}
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        while batch := dict(itertools.islice(files, _AT_ONCE)):
            names |= batch.keys()
            top |= {name: batch.pop(name) for name in [*batch] if "/" not in name}
            list(threads.map(lambda item: store.write(*item), batch.items()))
    _write(store, top)
    return names


def _write(store: ObjectStore, files: Mapping[str, bytes]) -> None:
    """Write small objects, level 0 first, so that what is left of it is known; the group, which makes it one, last."""
    inner, top = sorted(name for name in files if "/" in name), sorted(name for name in files if "/" not in name)
    for name in inner[:1]:
        store.write(name, files[name])
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(lambda name: store.write(name, files[name]), inner[1:]))
    for name in sorted(top, key=lambda name: name in GROUP_FILES):
        store.write(name, files[name])
