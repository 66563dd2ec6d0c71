"""An output in a folder of a file system: whole or absent by renames, locked by leases beside it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ssi_pipeline.storage.atomic import sweep_zarr, sync, sync_tree, write_bytes
from ssi_pipeline.storage.mount import Mount, existing_parent
from ssi_pipeline.storage.state.lease_place import FileLease
from ssi_pipeline.storage.system_errors import writing

_LEASE = re.compile(r"\..+\.([0-9a-f]{16})\.lease")


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """The folder ``place``. Its locks are beside it, which is the same folder through any mount or link."""

    place: Path

    def exists(self) -> bool:
        """Tell whether there is a file or folder of this name."""
        return self.place.exists()

    def is_folder(self) -> bool:
        """Tell whether it is a folder."""
        return self.place.is_dir()

    def above_exists(self) -> bool:
        """Tell whether the folder above is there."""
        return self.place.parent.is_dir()

    @property
    def lists_fast(self) -> bool:
        """Return False: each file of a list has to be looked at."""
        return False

    def disk(self) -> Path:
        """Return the nearest folder that exists."""
        return existing_parent(self.place)

    def create(self, files: Mapping[str, bytes], token: str) -> None:
        """Write under a temporary name, then rename."""
        temporary = self.place.with_name(f".{self.place.name}.{token}.partial")
        try:
            self.place.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)  # left by a killed call of this run
            _write_all(temporary, files.items(), write_bytes)
            temporary.rename(self.place)
            sync(self.place.parent)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def replace(self, name: str, files: Iterable[tuple[str, bytes]]) -> None:
        """Write under a temporary name, delete the earlier group, then rename."""
        with writing(self.place / name):
            for stale in self.place.glob(f".{name}.*.partial"):
                shutil.rmtree(stale)
            temporary = self.place / f".{name}.{os.getpid()}.partial"
            _write_all(temporary, files, Path.write_bytes)
            sync_tree(temporary)
            shutil.rmtree(self.place / name, ignore_errors=True)
            temporary.rename(self.place / name)
            sync(self.place)

    def presence(self) -> Mount:
        """Return its mount."""
        return Mount.of(self.place)

    def refuse_to_move(self) -> None:
        """Do nothing: a folder can be renamed."""

    def move_to_backup(self, tail: str) -> Path:
        """Rename it."""
        return self.place.rename(self.place.with_name(f"{self.place.name}.{tail}"))

    def sweep(self, groups: Iterable[str]) -> None:
        """Delete zarr's temporary files."""
        sweep_zarr(self.place, groups)

    def prepare_locks(self) -> None:
        """Make the folder above."""
        self._resolved.parent.mkdir(parents=True, exist_ok=True)

    def gate(self) -> FileLease:
        """Return the lock beside the output."""
        return FileLease(self._resolved.with_name(f".{self._resolved.name}.lock"))

    def lease(self, number: str) -> FileLease:
        """Return a lease beside the output."""
        return FileLease(self._resolved.with_name(f".{self._resolved.name}.{number}.lease"))

    def leases(self) -> list[FileLease]:
        """Return the leases beside the output, ignoring case."""
        found = []
        for entry in self._resolved.parent.iterdir():
            match = _LEASE.fullmatch(entry.name)
            own = self.lease(match[1]) if match else FileLease(entry)
            # on a case-insensitive file system both names are the same file
            if match and (own.name == entry.name or own.path.exists()):
                found.append(own)
        return found

    @property
    def _resolved(self) -> Path:
        return self.place.resolve()


def _write_all(folder: Path, files: Iterable[tuple[str, bytes]], write: Callable[[Path, bytes], object]) -> None:
    folder.mkdir(exist_ok=True)  # not its parents: a deleted output is not created again
    for name, content in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name, content)
