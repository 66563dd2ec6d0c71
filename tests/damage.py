"""Ways to damage a small file, and finished runs to damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import config_of

Harm = Callable[[Path], Any]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def nothing(path: Path) -> None:
    path.write_text("null")


HARMS: tuple[Harm, ...] = (empty, zeros, half, nothing, Path.unlink)

BLENDED = {"core": 32, "blend": 8}
"""With scratch; without blending a tile is written directly."""


def copied(run: Path, folder: Path) -> Path:
    """Copy a run's folder; returns its configuration."""
    shutil.copytree(run, folder, dirs_exist_ok=True)
    return folder / "run.yaml"


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return captured.out + captured.err


def ledger_of(config: Path) -> Path:
    return config_of(config).state_path / "ledger.jsonl"


def cut_ledger(config: Path, count: int) -> None:
    path = ledger_of(config)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:count]))


def with_zeros(path: Path, number: int) -> None:
    """Put zeros over a line and its end, as a page that a network file system has lost."""
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number] = bytes(len(lines[number]))
    path.write_bytes(b"".join(lines))


def with_garbage(path: Path, number: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number] = b"\xff\xfe{" + lines[number][3:]
    path.write_bytes(b"".join(lines))
