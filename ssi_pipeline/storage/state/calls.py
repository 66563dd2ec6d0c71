"""Calls on a run: when each began and ended, by which command, and which source it ran. They decide nothing.

One file for the run and one for each part, of lines that are only appended: one as a call begins, one as it ends. A
call that was killed has no end.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import ssi_pipeline
from ssi_pipeline.redact import redact
from ssi_pipeline.storage.small_files import read_small
from ssi_pipeline.storage.state.lines import cut_torn_line

_GIT_SECONDS = 10.0
"""Longest wait for git: a checkout may lie on a slow disk."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call: times as ISO 8601 in UTC; ``result``: complete, incomplete, failed or interrupted.

    ``id``: its identity in the files.
    ``commit``: of the checkout that the package was imported from, with ``-dirty`` where its files were changed.
    """

    start: str
    end: str | None
    result: str | None
    command: str
    commit: str | None
    platform: str
    id: str


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def begin_call(file: Path, command: str) -> str:
    """Note that a call begins; returns its identity. A full disk loses the note: the run itself refuses it."""
    identity = secrets.token_hex(8)
    about = {"command": redact(command), "commit": source_commit(), "platform": platform.platform()}
    _append(file, {"id": identity, "start": now(), **about})
    return identity


def end_call(file: Path, identity: str, result: str) -> None:
    """Note that a call ended."""
    _append(file, {"id": identity, "end": now(), "result": result})


def read_calls(folder: Path) -> list[Call]:
    """Return the calls on a run and its parts, in order of their start; lines that a kill cut off are left out."""
    found: dict[str, dict[str, Any]] = {}
    for file in folder.glob("calls*.jsonl"):
        for line in read_small(file).splitlines():
            with suppress(ValueError, KeyError, TypeError):
                document = json.loads(line)
                found.setdefault(document["id"], {}).update(document)
    calls = []
    for document in found.values():
        with suppress(TypeError):
            calls.append(Call(**{"end": None, "result": None, **document}))
    return sorted(calls, key=lambda call: call.start)


def as_documents(calls: list[Call]) -> list[dict[str, Any]]:
    """Return calls as dictionaries, without their identities."""
    return [{name: value for name, value in asdict(call).items() if name != "id"} for call in calls]


@cache
def source_commit() -> str | None:
    """Return the commit of the checkout that this package is in; None for an installed package, or without git."""
    root = Path(ssi_pipeline.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    # variables of git, as in a hook, name another repository; without locks nothing is written to the checkout
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, env=environment)
        return done.stdout.strip() or None
    return None


def _append(file: Path, document: dict[str, Any]) -> None:
    with suppress(OSError):
        cut_torn_line(file)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(document) + "\n")
