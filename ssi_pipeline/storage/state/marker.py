"""The file that makes a folder the state folder of one run, and the token of that run.

It is written before anything else of ours. A folder with other things in it and no marker is the user's: nothing
in it is ever replaced or removed.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
"""Of every run.json since the first release, which wrote no marker."""

_MOST_NAMES = 3
_TRIES = 10


@dataclass(frozen=True, slots=True)
class StateFolder:
    """A state folder that is ours. ``made_folder``, ``made_marker``: by this call."""

    root: Path
    token: str
    made_folder: bool = False
    made_marker: bool = False

    def keep(self) -> None:
        """Make sure, under the lock of the run, that the folder is still that of this token.

        Who had made the marker takes it away again when it is refused; whoever waited in the folder puts it back.

        Raises
        ------
        LockedError
            Another run has begun here meanwhile.
        """
        _write_new(self.root, self.token)
        if read_marker(self.root) != self.token:
            raise LockedError(
                f"another run works on this output, it has just begun in {self.root}: wait for it, or end it; "
                "then run the same command again"
            )

    def undo(self) -> None:
        """Remove the marker, if this call made it; only under the lock of the run, and before anything was begun."""
        if self.made_marker and read_marker(self.root) == self.token:
            (self.root / MARKER).unlink(missing_ok=True)

    def undo_folder(self) -> None:
        """Remove the folder, if this call made it and nothing is in it."""
        if self.made_folder:
            with contextlib.suppress(OSError):
                self.root.rmdir()


def read_marker(root: Path) -> str | None:
    """Return the token of the run whose state folder this is; None where there is no readable marker."""
    try:
        document: Any = json.loads(read_small(root / MARKER))
        token = str(document["token"]) if document["made_by"] == _PRODUCT else ""
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return token if _TOKEN.fullmatch(token) else None


def other_tokens(output: Path, root: Path) -> tuple[str, str] | None:
    """Return the tokens of an output and of a state folder that belong to different runs; None if they do not.

    Two runs may be of equal configurations: fingerprints do not tell them apart. An output or a folder without a
    token, as an earlier release left it, passes.
    """
    found, expected = read_token(output), read_marker(root)
    return (found, expected) if found and expected and found != expected else None


def refuse_foreign_folder(root: Path) -> None:
    """Refuse a state folder that holds something, but neither a marker nor a run of an earlier release.

    Raises
    ------
    OutputError
        It is the user's, or no folder.
    """
    if not root.exists() or read_marker(root) is not None:
        return
    if not root.is_dir():
        raise OutputError(f"{root} exists and is no folder: choose another output.state, or move it away")
    foreign = sorted(p.name for p in root.iterdir() if p.name != MARKER and not _OWN_PARTIAL.fullmatch(p.name))
    if foreign and not _is_document(root / "run.json") and read_marker(root) is None:
        names = ", ".join(foreign[:_MOST_NAMES]) + (", ..." if len(foreign) > _MOST_NAMES else "")
        raise OutputError(
            f"{root} exists and is no state folder of ssi: it holds {names}, but not {MARKER}; "
            "choose another output.state (a new or an empty folder), or move it away"
        )


def claim_state_folder(root: Path, output: Path | None = None) -> StateFolder:
    """Make a state folder, or take the one that is ours; of several that do it at once, all get the same token.

    Parameters
    ----------
    output
        Whose token a run of an earlier release, or one that lost its marker, is given, if it has one.

    Raises
    ------
    OutputError
        The folder is the user's, or the system refuses it.
    """
    made_folder = False
    try:
        for _ in range(_TRIES):
            made_folder = _make_folder(root) or made_folder
            refuse_foreign_folder(root)
            if (token := read_marker(root)) is not None:
                return StateFolder(root, token, made_folder)
            token = _earlier_token(root, output) or secrets.token_hex(16)
            with contextlib.suppress(FileNotFoundError):  # another client, refused, has just removed the folder
                if _write_new(root, token):
                    return StateFolder(root, token, made_folder, made_marker=True)
                _replace_unreadable(root, token)
    except OutputError:
        raise
    except OSError as error:
        StateFolder(root, "", made_folder).undo_folder()
        raise OutputError(f"the state folder {root} cannot be made: {error}") from error
    raise LockedError(f"other runs begin and end in {root} all the time: wait for them, then run again")


def _make_folder(root: Path) -> bool:
    root.parent.mkdir(parents=True, exist_ok=True)
    return make_folder(root)


def _earlier_token(root: Path, output: Path | None) -> str | None:
    """Return the token that the output of a run has whose state folder has lost its marker."""
    token = read_token(output) if output is not None and _is_document(root / "run.json") else None
    return token if token is not None and _TOKEN.fullmatch(token) else None


def _content(token: str) -> dict[str, str]:
    return {"made_by": _PRODUCT, "what": "state folder of one run; what lies here may be replaced", "token": token}


def _write_new(root: Path, token: str) -> bool:
    return create_whole(root / MARKER, (json.dumps(_content(token), indent=1) + "\n").encode())


def _replace_unreadable(root: Path, token: str) -> None:
    """A marker that a crash of the machine has emptied: the name is ours."""
    if (root / MARKER).exists() and read_marker(root) is None:
        write_json(root / MARKER, _content(token))


def _is_document(path: Path) -> bool:
    """Tell whether a file is the document of a run of ours."""
    try:
        document: Any = json.loads(read_small(path))
        return document.keys() >= _DOCUMENT_KEYS and "algorithm" in document["basis"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
