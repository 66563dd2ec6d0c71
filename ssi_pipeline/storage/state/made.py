"""Folders that the user names for what a command writes: only what such a command wrote there before is replaced."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ssi_pipeline.errors import OutputError
from ssi_pipeline.storage.atomic import write_json

LIST = ".ssi-made.json"
_MOST_NAMES = 3


def refuse_foreign(folder: Path, names: Iterable[str], option: str = "--output") -> None:
    """Refuse a folder in which files or folders of these names lie that no command of ours has noted there.

    Raises
    ------
    OutputError
        They would be replaced.
    """
    known = _noted(folder)
    foreign = sorted(name for name in names if name not in known and _is_something(folder / name))
    if foreign:
        shown = ", ".join(foreign[:_MOST_NAMES]) + (", ..." if len(foreign) > _MOST_NAMES else "")
        raise OutputError(
            f"{option} {folder} holds {shown}, which ssi did not write there: it would be replaced. "
            "Give another folder, or move it away"
        )


def note(folder: Path, names: Iterable[str]) -> None:
    """Note what is about to be written to a folder, and may be replaced later.

    Raises
    ------
    OutputError
        The folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / LIST, {"made_by": "ssi_pipeline", "names": sorted({*_noted(folder), *names})})
    except OSError as error:
        raise OutputError(f"{folder} cannot be written to: {error}; give another folder") from error


def _is_something(path: Path) -> bool:
    """Tell whether something would be lost: an empty folder is nothing."""
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _noted(folder: Path) -> frozenset[str]:
    try:
        document: Any = json.loads((folder / LIST).read_text())
        return frozenset(map(str, document["names"]))
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()
