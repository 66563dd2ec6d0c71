"""Bounds on every value of a document, whatever it is for, before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ssi_pipeline.errors import ConfigError

MOST_CHARACTERS = 4096
"""Of a text: Linux' longest path (PATH_MAX)."""

_MOST_ENTRIES, _MOST_DEPTH = 10_000, 20

_LARGEST = 2**63 - 1
"""Of a whole number: what files, tensors and other programs can hold."""

_SHELL = ("on_end.command", "executor.slurm.prologue")
"""Options that are shell, which may have several lines and tabs."""


def refuse_strange_values(document: Any) -> None:
    """Refuse what no option can be: control characters, halves of characters, and sizes beyond reason.

    A newline in a path would end up in the scripts of jobs as a line of its own.

    Raises
    ------
    ConfigError
        Such a value is there; its place, what it is, and what is possible.
    """
    for entries, (names, value) in enumerate(_walk(document, ())):
        where = ".".join(_short(name) for name in names) or "the configuration"
        if entries > _MOST_ENTRIES or len(names) > _MOST_DEPTH:
            raise ConfigError(f"{where}: there are more than {_MOST_ENTRIES} values, or they lie {_MOST_DEPTH} deep")
        problem = _problem(value, names)
        if problem:
            raise ConfigError(f"{where}: {problem}")


def _walk(value: Any, names: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield every value with the keys that lead to it; a key is a value of its own."""
    yield names, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield names, key
            yield from _walk(inner, (*names, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _walk(inner, (*names, index))


def _problem(value: Any, names: tuple[Any, ...]) -> str | None:
    if isinstance(value, int) and abs(value) > _LARGEST:
        return "a whole number beyond 64 bits"
    if not isinstance(value, str):
        return None
    if len(value) > MOST_CHARACTERS:
        return f"a text of {len(value)} characters: expected at most {MOST_CHARACTERS}"
    option = ".".join(name for name in names if isinstance(name, str))
    allowed = "\n\t" if option in _SHELL else _BYTES if option.rpartition(".")[2] in _NAMES else ""
    strange = next((c for c in value if _is_strange(c) and c not in allowed), None)
    if strange is None:
        return None
    return f"a text with the character U+{ord(strange):04X}, which cannot be printed: {_short(value)}; take it out"


def _is_strange(character: str) -> bool:
    """Tell whether a character moves cursors, ends lines, or is half of one."""
    code = ord(character)
    # the last: line and paragraph separators, and what turns the direction of writing around
    return code < 32 or 127 <= code < 160 or 0xD800 <= code < 0xE000 or code in _TURNS


_NAMES = ("path", "state", "start_from", "profile")
"""Last parts of the options that are files and folders."""

_BYTES = "".join(map(chr, range(0xDC80, 0xDD00)))
"""How Python writes the bytes of a file's name that are no text in this locale."""

_TURNS = frozenset((0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))


def _short(value: Any) -> str:
    """Return a value as it can be printed on a line; the repr of a text escapes what cannot."""
    text = value if isinstance(value, str) and value.isidentifier() else ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
