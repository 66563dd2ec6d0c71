"""Marker file of a state folder, with the token of its run.

It is written before any other file. A non-empty folder without a marker belongs to the user: nothing in it is replaced
or removed.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import LockedError, OutputError
from ssi_pipeline.storage.atomic import create_whole, write_json
from ssi_pipeline.storage.mount import make_folder
from ssi_pipeline.storage.outputs.output import read_token
from ssi_pipeline.storage.small_files import read_small

MARKER = "ssi-state.json"
_PRODUCT = "ssi_pipeline"
_TOKEN = re.compile(r"[0-9a-f]{32}")
_OWN_PARTIAL = re.compile(rf"\.{re.escape(MARKER)}\.[0-9a-f]{{12}}\.partial")
_DOCUMENT_KEYS = {"fingerprint", "basis", "config", "plan", "volume", "versions"}
"""Keys of every run.json since the first release, which wrote no marker."""

_MOST_NAMES = 3
_TRIES = 10


@dataclass(frozen=True, slots=True)
class StateFolder:
    """A state folder of a run. ``made_folder``, ``made_marker``: created by this call."""

    root: Path
    token: str
    made_folder: bool = False
    made_marker: bool = False

    def keep(self) -> None:
        """Check, under the run lock, that the folder still has this token.

        A refused client removes the marker that it created; a client that waited in the folder restores it.

        Raises
        ------
        LockedError
            Another run started here meanwhile.
        """
        _write_new(self.root, self.token)
        if read_marker(self.root) != self.token:
            raise LockedError(
                f"another run works on this output, it just started in {self.root}: wait for it, or stop it; "
                "then run the same command again"
            )

    def undo(self) -> None:
        """Remove the marker if this call created it; only under the run lock and before any work."""
        if self.made_marker and read_marker(self.root) == self.token:
            (self.root / MARKER).unlink(missing_ok=True)

    def undo_folder(self) -> None:
        """Remove the folder if this call created it and it is empty."""
        if self.made_folder:
            with contextlib.suppress(OSError):
                self.root.rmdir()


def read_marker(root: Path) -> str | None:
    """Return the token of a state folder's run; None without a readable marker."""
    try:
        document: Any = json.loads(read_small(root / MARKER))
        token = str(document["token"]) if document["made_by"] == _PRODUCT else ""
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return token if _TOKEN.fullmatch(token) else None


def other_tokens(output: Place, root: Path) -> tuple[str, str] | None:
    """Return the tokens of an output and a state folder if they belong to different runs, else None.

    Fingerprints do not distinguish two runs of equal configurations. An output or folder without a token, from an
    earlier release, is accepted.
    """
    found, expected = read_token(output), read_marker(root)
    return (found, expected) if found and expected and found != expected else None


def refuse_foreign_folder(root: Path) -> None:
    """Refuse a non-empty folder with neither a marker nor a run of an earlier release.

    Raises
    ------
    OutputError
        It belongs to the user, or is not a folder.
    """
    if not root.exists() or read_marker(root) is not None:
        return
    if not root.is_dir():
        raise OutputError(f"{root} exists and is not a folder: choose another output.state, or move it")
    foreign = sorted(p.name for p in root.iterdir() if p.name != MARKER and not _OWN_PARTIAL.fullmatch(p.name))
    if foreign and not _is_document(root / "run.json") and read_marker(root) is None:
        names = ", ".join(foreign[:_MOST_NAMES]) + (", ..." if len(foreign) > _MOST_NAMES else "")
        raise OutputError(
            f"{root} exists and is not a state folder of ssi: it contains {names}, but not {MARKER}; "
            "choose another output.state (a new or empty folder), or move it"
        )


def claim_state_folder(root: Path, output: Place | None = None) -> StateFolder:
    """Create a state folder, or open an existing one; concurrent callers get the same token.

    Parameters
    ----------
    output
        Output whose token is used for a run of an earlier release or without marker.

    Raises
    ------
    OutputError
        The folder belongs to the user, or cannot be created.
    """
    made_folder = False
    try:
        for _ in range(_TRIES):
            made_folder = _make_folder(root) or made_folder
            refuse_foreign_folder(root)
            if (token := read_marker(root)) is not None:
                return StateFolder(root, token, made_folder)
            token = _earlier_token(root, output) or secrets.token_hex(16)
            with contextlib.suppress(FileNotFoundError):  # the folder was just removed by another, refused client
                if _write_new(root, token):
                    return StateFolder(root, token, made_folder, made_marker=True)
                _replace_unreadable(root, token)
    except OutputError:
        raise
    except OSError as error:
        StateFolder(root, "", made_folder).undo_folder()
        raise OutputError(f"cannot create the state folder {root}: {error}") from error
    raise LockedError(f"other runs keep starting and ending in {root}: wait for them, then run again")


def _make_folder(root: Path) -> bool:
    root.parent.mkdir(parents=True, exist_ok=True)
    return make_folder(root)


def _earlier_token(root: Path, output: Place | None) -> str | None:
    """Return the output's token for a state folder without marker."""
    token = read_token(output) if output is not None and _is_document(root / "run.json") else None
    return token if token is not None and _TOKEN.fullmatch(token) else None


def _content(token: str) -> dict[str, str]:
    return {"made_by": _PRODUCT, "what": "state folder of one run; what lies here may be replaced", "token": token}


def _write_new(root: Path, token: str) -> bool:
    return create_whole(root / MARKER, (json.dumps(_content(token), indent=1) + "\n").encode())


def _replace_unreadable(root: Path, token: str) -> None:
    """Replace a marker that a crash left empty."""
    if (root / MARKER).exists() and read_marker(root) is None:
        write_json(root / MARKER, _content(token))


def _is_document(path: Path) -> bool:
    """Tell whether a file is a run document."""
    try:
        document: Any = json.loads(read_small(path))
        return document.keys() >= _DOCUMENT_KEYS and "algorithm" in document["basis"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
