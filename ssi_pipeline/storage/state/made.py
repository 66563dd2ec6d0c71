"""Output folders of commands: only files that a command wrote there before are replaced."""

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
    """Refuse a folder with files or folders of these names that no command of ours recorded.

    Raises
    ------
    OutputError
        Foreign files would be replaced.
    """
    known = _noted(folder)
    foreign = sorted(name for name in names if name not in known and _is_something(folder / name))
    if foreign:
        shown = ", ".join(foreign[:_MOST_NAMES]) + (", ..." if len(foreign) > _MOST_NAMES else "")
        raise OutputError(
            f"{option} {folder} contains {shown}, which was not written by ssi and would be replaced. "
            "Choose another folder, or move it"
        )


def note(folder: Path, names: Iterable[str]) -> None:
    """Record the files about to be written to a folder, which may be replaced later.

    Raises
    ------
    OutputError
        The folder cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / LIST, {"made_by": "ssi_pipeline", "names": sorted({*_noted(folder), *names})})
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error}; choose another folder") from error


def _is_something(path: Path) -> bool:
    """Tell whether a path has content to lose; an empty folder has none."""
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _noted(folder: Path) -> frozenset[str]:
    try:
        document: Any = json.loads((folder / LIST).read_text())
        return frozenset(map(str, document["names"]))
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()
