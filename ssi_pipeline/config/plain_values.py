"""Checks of every value of a document before it is interpreted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ssi_pipeline.errors import ConfigError

MOST_CHARACTERS = 4096
"""Longest text: the longest path of Linux (PATH_MAX)."""

_MOST_ENTRIES, _MOST_DEPTH = 10_000, 20

_LARGEST = 2**63 - 1
"""Largest integer: what files, tensors and other programs can store."""

_SHELL = ("on_end.command", "executor.slurm.prologue")
"""Options that contain shell code, with newlines and tabs."""


def refuse_strange_values(document: Any) -> None:
    """Refuse values that no option can have: control characters, lone surrogates, and implausible sizes.

    A newline in a path would become a separate line of a job script.

    Raises
    ------
    ConfigError
        There is such a value; names the option, the value and what is possible.
    """
    for entries, (names, value) in enumerate(_walk(document, ())):
        where = ".".join(_short(name) for name in names) or "the configuration"
        if entries > _MOST_ENTRIES or len(names) > _MOST_DEPTH:
            raise ConfigError(f"{where}: more than {_MOST_ENTRIES} values, or nested more than {_MOST_DEPTH} deep")
        problem = _problem(value, names)
        if problem:
            raise ConfigError(f"{where}: {problem}")


def _walk(value: Any, names: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield every value with its keys; a key is itself a value."""
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
        return "an integer of more than 64 bits"
    if not isinstance(value, str):
        return None
    if len(value) > MOST_CHARACTERS:
        return f"a text of {len(value)} characters: expected at most {MOST_CHARACTERS}"
    option = ".".join(name for name in names if isinstance(name, str))
    allowed = "\n\t" if option in _SHELL else _BYTES if option.rpartition(".")[2] in _NAMES else ""
    strange = next((c for c in value if _is_strange(c) and c not in allowed), None)
    if strange is None:
        return None
    return f"a text with the character U+{ord(strange):04X}, which is not printable: {_short(value)}; remove it"


def _is_strange(character: str) -> bool:
    """Tell whether a character is a control character, a line separator or a surrogate."""
    code = ord(character)
    # _TURNS: line and paragraph separators, and changes of the writing direction
    return code < 32 or 127 <= code < 160 or 0xD800 <= code < 0xE000 or code in _TURNS


_NAMES = ("path", "state", "start_from", "profile")
"""Last parts of the names of options that are paths."""

_BYTES = "".join(map(chr, range(0xDC80, 0xDD00)))
"""Surrogates for bytes of a file name that are not valid text in this locale."""

_TURNS = frozenset((0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))


def _short(value: Any) -> str:
    """Return a value as printable text on one line."""
    text = value if isinstance(value, str) and value.isidentifier() else ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
