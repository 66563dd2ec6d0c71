"""Whether a folder is still the one that was opened: a mount that is lost leaves an empty local folder in its place.

Nothing may be written there, and what is missing there is not missing in the data.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ssi_pipeline.errors import MissingStateError


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder (or a file), and the number of the file system that it was on when it was opened.

    Inodes are not asked: some network file systems number their files anew.
    """

    place: Path
    device: int

    @staticmethod
    def of(place: Path) -> Mount:
        """Return where a folder is now.

        Raises
        ------
        MissingStateError
            There is none.
        """
        return Mount(place, _device(place))

    def check(self) -> None:
        """Make sure that it is there, on the same file system.

        Raises
        ------
        MissingStateError
            It is not.
        """
        if _device(self.place) != self.device:
            raise MissingStateError(
                f"{self.place} is on another file system than when it was opened: this machine has lost or renewed a "
                "mount; bring it back if it is not there"
            )


def _device(place: Path) -> int:
    try:
        return os.stat(place).st_dev
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingStateError(
            f"{place} is not to be seen from here: this machine has lost its mount (bring it back), or it was removed"
        ) from error


def make_folders(folder: Path, root: Path) -> None:
    """Make a folder below ``root``, and those between; never ``root`` itself.

    Raises
    ------
    FileNotFoundError
        ``root`` is not there.
    """
    missing = []
    while folder != root and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for made in reversed(missing):
        make_folder(made)


def make_folder(folder: Path) -> bool:
    """Make a folder whose parent is there; returns False where it was there."""
    try:
        folder.mkdir()
    except OSError:
        if not folder.is_dir():  # SFTP servers call it "not permitted" when another was faster
            raise
        return False
    return True
