"""Detection of lost mounts: a lost mount leaves an empty local folder in its place.

Nothing may be written to that folder, and files missing there are not missing in the data.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ssi_pipeline.errors import MissingStateError


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder or file, and the device number of its file system when it was opened.

    Inodes are not compared: some network file systems renumber them.
    """

    place: Path
    device: int

    @staticmethod
    def of(place: Path) -> Mount:
        """Return the current mount of a folder.

        Raises
        ------
        MissingStateError
            The folder does not exist.
        """
        return Mount(place, _device(place))

    def check(self) -> None:
        """Check that the folder exists on the same file system.

        Raises
        ------
        MissingStateError
            It does not, or is on another one.
        """
        if _device(self.place) != self.device:
            raise MissingStateError(
                f"{self.place} is on another file system than when it was opened: this machine lost or renewed a "
                "mount; remount it if it is missing"
            )


def _device(place: Path) -> int:
    try:
        return os.stat(place).st_dev
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingStateError(
            f"{place} is not accessible: this machine lost its mount (remount it), or it was deleted"
        ) from error


def existing_parent(path: Path) -> Path:
    """Return the nearest folder at or above a path that exists."""
    return next(parent for parent in (path, *path.parents) if parent.exists())


def make_folders(folder: Path, root: Path) -> None:
    """Create a folder below ``root`` with its parents, but never ``root`` itself.

    Raises
    ------
    FileNotFoundError
        ``root`` does not exist.
    """
    missing = []
    while folder != root and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for made in reversed(missing):
        make_folder(made)


def make_folder(folder: Path) -> bool:
    """Create a folder in an existing parent; return False if it exists."""
    try:
        folder.mkdir()
    except OSError:
        if not folder.is_dir():  # SFTP servers report an existing folder as "not permitted"
            raise
        return False
    return True
