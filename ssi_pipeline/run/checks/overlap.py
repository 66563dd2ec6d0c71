"""Refuse output and state paths that contain, or are inside, a path that the run reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ssi_pipeline.config import RunConfig
from ssi_pipeline.config.url import Place, Url
from ssi_pipeline.errors import OutputError


def refuse_overlap(config: RunConfig) -> None:
    """Refuse an output or state folder that overlaps the other, or a file or folder that is read.

    Links are followed, and folders are compared by identity: one may have several names.

    Raises
    ------
    OutputError
        Two paths overlap.
    """
    own = (("output.path", config.output.path), (_state_name(config), config.state_path))
    for name, path in own:
        for what, source in sources(config):
            if _overlap(path, source):
                raise OutputError(
                    f"{name} {_resolved(path)} and {what} {_resolved(source)} overlap: move the output somewhere else"
                )
    if _overlap(config.output.path, config.state_path):
        raise OutputError(
            f"{_state_name(config)} {_resolved(config.state_path)} and output.path {_resolved(config.output.path)} "
            "overlap: put them side by side"
        )


def sources(config: RunConfig) -> Iterator[tuple[str, Place]]:
    """Yield name and path of everything that a run reads: input, PSFs, networks, profile, the configuration."""
    if config.file is not None:
        yield "the configuration", config.file
    for name, path in _paths(config, ""):
        if not name.startswith("output."):
            yield name, path


def _paths(value: Any, name: str) -> Iterator[tuple[str, Place]]:
    """Yield all paths of a section, so that new keys are covered."""
    if isinstance(value, Path | Url):
        yield name, value
    elif isinstance(value, BaseModel):
        for key in type(value).model_fields:
            yield from _paths(getattr(value, key), f"{name}.{key}" if name else key)
    elif isinstance(value, tuple):
        for item in value:
            yield from _paths(item, name)


def _state_name(config: RunConfig) -> str:
    return "output.state" if config.output.state is not None else "the state folder"


def _resolved(place: Place) -> Place:
    return place.resolve() if isinstance(place, Path) else place


def _overlap(a: Place, b: Place) -> bool:
    """Return whether two places are equal, or one contains the other."""
    if isinstance(a, Url) and isinstance(b, Url):
        return a == b or a in b.parents or b in a.parents
    if not (isinstance(a, Path) and isinstance(b, Path)):
        return False
    a, b = a.resolve(), b.resolve()
    return _holds(a, b) or _holds(b, a)


def _holds(outer: Path, inner: Path) -> bool:
    if outer == inner or outer in inner.parents:
        return True
    if not outer.exists():
        return False
    # another mount of the same folder, or a name in another case
    return any(path.exists() and os.path.samefile(outer, path) for path in (inner, *inner.parents))
