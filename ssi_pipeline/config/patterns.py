"""Paths that stand for many files: ``scan_T{t}_Z{z}.tif``."""

from __future__ import annotations

from pathlib import Path


def has_placeholders(path: Path) -> bool:
    """Tell whether a path is a pattern of files: it has placeholders and is none itself."""
    return "{" in str(path) and "}" in str(path) and not path.exists()


def place_of(path: Path) -> Path:
    """Return what must exist on disk: the path, or the folder that the files of a pattern lie below."""
    return next(p for p in (path, *path.parents) if not has_placeholders(p))
