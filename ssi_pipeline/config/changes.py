"""Changes to a configuration on the command line: ``--set training.steps=100``.

A change is made in the document that was read from the file, before anything is checked: the run is the same as with
an edited file.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ssi_pipeline.config.yaml_text import parse_yaml
from ssi_pipeline.errors import ConfigError

_OPEN, _CLOSE, _QUOTES = "[{", "]}", "'\""

Resolve = Callable[[dict[str, Any]], dict[str, Any]]
"""Resolves the relative paths of a document."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change: ``text`` as given, ``key`` with dots between sections, and its values in YAML."""

    text: str
    key: str
    values: tuple[str, ...]

    def parsed(self) -> list[Any]:
        """Return the values.

        Raises
        ------
        ConfigError
            A value is no valid YAML.
        """
        try:
            return [parse_yaml(value) for value in self.values]
        except ConfigError as error:
            raise ConfigError(f"--set {self.text!r}: invalid value: {error}") from error


def parse_change(text: str) -> Change:
    """Split ``key=value`` or ``key=value,value``; commas inside brackets and quotes do not separate values.

    Raises
    ------
    ConfigError
        There is no key or no value.
    """
    key, _, value = text.partition("=")
    if not key.strip() or not value.strip():
        raise ConfigError(f"--set {text!r}: expected key=value, for instance training.steps=100 (null: the default)")
    return Change(text, key.strip(), tuple(_split(value)))


def _split(text: str) -> list[str]:
    depth, quote, parts = 0, "", [""]
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in _QUOTES and not parts[-1].strip(" [{,:"):
            quote = letter
        depth += (letter in _OPEN) - (letter in _CLOSE) if not quote else 0
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def put(document: dict[str, Any], key: str, value: Any) -> None:
    """Set an option of a document; sections that are missing are added.

    Raises
    ------
    ConfigError
        The key leads through a value that is no section.
    """
    *sections, last = key.split(".")
    part: Any = document
    for depth, name in enumerate(sections):
        part = _inside(part, name, key, ".".join(sections[: depth + 1]))
    if isinstance(part, list):
        part[_position(part, last, key)] = value
    else:
        part[last] = value


def _inside(part: Any, name: str, key: str, where: str) -> Any:
    """Return a section of a document, or an item of a list."""
    if isinstance(part, list):
        found = part[_position(part, name, key)]
    else:
        found = part.get(name)
        if found is None:
            part[name] = found = {}
    if not isinstance(found, dict | list):
        raise ConfigError(f"--set {key}: {where} is {found!r}, not a section of the configuration")
    return found


def _position(part: list[Any], name: str, key: str) -> int:
    if not name.isdecimal() or int(name) >= len(part):
        raise ConfigError(f"--set {key}: {name!r}: expected a number from 0 to {len(part) - 1}, as this is a list")
    return int(name)


def with_changes(document: dict[str, Any], changes: Sequence[str], resolve: Resolve) -> dict[str, Any]:
    """Return a document with changes; ``resolve``: makes paths relative to the working directory absolute.

    Raises
    ------
    ConfigError
        A change is not ``key=value``, or has several values.
    """
    changed = copy.deepcopy(document)
    for change in map(parse_change, changes):
        if len(change.values) > 1:
            raise ConfigError(f"--set {change.text!r}: expected one value; only `ssi preview` compares several")
        put(changed, change.key, _with_paths(change.key.split("."), change.parsed()[0], resolve))
    return changed


def _with_paths(keys: list[str], value: Any, resolve: Resolve) -> Any:
    """Return a value with its paths resolved, which depends on where it is put."""
    alone: Any = value
    for key in reversed(keys):
        alone = [alone] if key.isdecimal() else {key: alone}
    found: Any = resolve(alone) if isinstance(alone, dict) else alone
    for key in keys:
        found = found[0 if key.isdecimal() else key]
    return found
