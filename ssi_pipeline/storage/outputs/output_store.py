"""The place of an output: what a folder and an object store do differently, behind one protocol.

Files are read and written through ``storage/store.py``. Here is what has to be whole or absent, and who may write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ssi_pipeline.config.url import Place, Url
from ssi_pipeline.storage.outputs.output_folder import OutputFolder
from ssi_pipeline.storage.state.lease_place import LeasePlace


class Presence(Protocol):
    """What is checked after a task that wrote."""

    def check(self) -> None:
        """Raise ``MissingStateError`` or ``StoreError`` where the output is not there any more."""


class OutputStore(Protocol):
    """The place of one output. Opening it makes no request."""

    @property
    def place(self) -> Place:
        """The output."""

    def exists(self) -> bool:
        """Tell whether anything is there."""

    def is_folder(self) -> bool:
        """Tell whether it is a folder, or absent in a store, where each name may be one."""

    def above_exists(self) -> bool:
        """Tell whether the folder above is there, as far as a store has one: a lost mount takes it along."""

    @property
    def lists_fast(self) -> bool:
        """Whether one request tells of many files, so that a list is cheaper than to look at each."""

    def disk(self) -> Path | None:
        """Return the existing folder on whose disk the output will be; None where there is no such disk."""

    def create(self, files: Mapping[str, bytes], token: str) -> None:
        """Write the metadata of a new output, by path in it; the group's are there once all others are.

        ``token``: of the run. A call that was killed before is completed.

        Raises
        ------
        OSError
            It cannot be written.
        """

    def replace(self, name: str, files: Iterable[tuple[str, bytes]]) -> None:
        """Write a group inside the output, by path in it, in place of an earlier one; few files are held at a time."""

    def presence(self) -> Presence:
        """Return what tells that the output is still where it is now.

        Raises
        ------
        MissingStateError
            It is not there now.
        """

    def refuse_to_move(self) -> None:
        """Refuse to keep an earlier output as a backup where nothing can be renamed.

        Raises
        ------
        OutputError
            It cannot.
        """

    def move_to_backup(self, tail: str) -> Place:
        """Rename the output to its name with ``tail`` added. Raises as ``refuse_to_move`` does."""

    def sweep(self, groups: Iterable[str]) -> None:
        """Delete temporary files of killed writers, at the top and in some groups."""

    def prepare_locks(self) -> None:
        """Make the place where the locks are.

        Raises
        ------
        OSError
            It cannot be written.
        """

    def gate(self) -> LeasePlace:
        """Return the lock that is held while leases are looked at and added."""

    def lease(self, number: str) -> LeasePlace:
        """Return the lease of a client."""

    def leases(self) -> Sequence[LeasePlace]:
        """Return the leases that there are."""


def output_store(place: Place) -> OutputStore:
    """Return the place of an output.

    Raises
    ------
    MissingPackageError
        It is a URL, and obstore is not installed.
    """
    if isinstance(place, Url):
        from ssi_pipeline.storage.outputs.output_objects import OutputObjects

        return OutputObjects(place)
    return OutputFolder(place)
