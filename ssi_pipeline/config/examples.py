"""Workflows and cluster scripts that come with the package, as texts of their own for a folder of the user.

Their files are ``workflows/`` and ``cluster/`` of the repository: links in the package lead there, a wheel has copies.
"""

from __future__ import annotations

import difflib
import re
import shlex
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from ssi_pipeline.errors import ConfigError

_HOMES = {"workflows": "workflows", "cluster": "cluster/scripts"}
"""Folder of the repository, by which the files name each other, and where it is in the package."""

_ENDINGS = (".yaml", ".sbatch", ".sh", ".nf", "Snakefile")


def example_names() -> dict[str, str]:
    """Return what each example is for, by the name that ``ssi init --from`` takes: its path without ``.yaml``."""
    found = {}
    for home in _HOMES:
        for path, file in sorted(_walk(_folder(home))):
            found[path.removesuffix(".yaml")] = _purpose(file.read_text(encoding="utf-8"))
    return found


def example_text(name: str, destination: Path) -> str:
    """Return the text of an example; in its comments, files are named as seen beside ``destination``.

    Raises
    ------
    ConfigError
        There is no such example; the message lists all.
    """
    wanted = name.removesuffix(".yaml")
    for home in _HOMES:
        for path, file in _walk(_folder(home)):
            if path.removesuffix(".yaml") == wanted and wanted in example_names():
                return _moved(file.read_text(encoding="utf-8"), f"{home}/{path}", destination)
    raise ConfigError(f"--from {name}: there is no such workflow{_nearest(wanted)}\n{describe_examples()}")


def describe_examples() -> str:
    """Return a line for each example."""
    names = example_names()
    width = max(map(len, names))
    return "\n".join(["workflows and scripts:", *(f"  {name:<{width}}  {names[name]}" for name in names)])


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name, example_names(), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _folder(home: str) -> Traversable:
    folder = files("ssi_pipeline").joinpath(_HOMES[home])
    if not folder.is_dir():
        raise ConfigError(
            "this installation lacks the workflows, as of a clone without symbolic links: install from a wheel, or "
            "take the files from workflows/ and cluster/ of the repository"
        )
    return folder


def _walk(folder: Traversable, before: str = "") -> list[tuple[str, Traversable]]:
    found = []
    for entry in folder.iterdir():
        path = f"{before}{entry.name}"
        if entry.is_dir() and not entry.name.endswith((".zarr", ".run")):
            found += _walk(entry, f"{path}/")
        elif entry.name.endswith(_ENDINGS):  # nothing that users put beside them in a clone
            found.append((path, entry))
    return found


def _purpose(text: str) -> str:
    """Return the first sentence of the comment at the top, without ``For:``."""
    lines = [line for line in text.splitlines() if not line.startswith("#!")]
    end = next((i for i, line in enumerate(lines) if line[:1] not in ("#", "/")), len(lines))
    comment = " ".join(line.lstrip("#/ ") for line in lines[:end])
    return re.split(r"(?<=[a-z])[.:] ", comment.removeprefix("For: "))[0].rstrip(".")


def _moved(text: str, own: str, destination: Path) -> str:
    """Name the file itself by its new path in comments, the others of the repository as files of the same folder."""
    folder = "" if destination.parent == Path() else f"{shlex.quote(str(destination.parent))}/"

    def rename(comment: re.Match[str]) -> str:
        """Return a comment with other paths."""
        named = comment[0].replace(own, shlex.quote(str(destination)))
        return re.sub(r"(?<![\w./-])(?:workflows|cluster)/(?=\w)", lambda _: folder, named)

    return re.sub(r"(?:^|(?<=\s))#.*", rename, text, flags=re.MULTILINE)
