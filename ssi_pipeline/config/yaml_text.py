"""YAML as a configuration needs it: plain values, nothing given twice, and bounds on everything before it is built."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ssi_pipeline.errors import ConfigError

MOST_BYTES = 256 * 2**10
"""The template, with all comments, has 12 kB; PyYAML reads 100 kB a second."""

_MOST_DEPTH = 16
"""Sections, lists and mappings in one another; a configuration has at most five."""

_MOST_VALUES = 20_000
"""Once aliases are put in: ten aliases of ten aliases of ... are a small file and more than any memory."""

_MOST_NUMBER = 64
"""Characters of a number. Python refuses to read more than 4300 digits, or to write as many that were read as hex."""

_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map", "merge")
)
_NUMBERS = frozenset(("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"))
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


_OTHER_BASE = re.compile(r"[-+]?([0-9_.]+(:[0-9_.]+)+|0[0-9_]+)")
"""Base 60 and base 8 of YAML 1.1, which nobody means who writes a range or a number with a leading 0."""


class _Loader(yaml.SafeLoader):
    """A SafeLoader by inheritance: it makes plain values only. Dates are text: no option is one, and folders are."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node; raises ConfigError where it lies too deep."""
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call, unused-ignore]
            raise ConfigError(f"line {line}: lists and mappings lie more than {_MOST_DEPTH} deep in one another")
        node = super().compose_node(parent, index)  # type: ignore[no-untyped-call, unused-ignore]
        self._depth -= 1
        return node  # type: ignore[no-any-return, unused-ignore]

    def get_single_node(self) -> yaml.Node | None:
        """Return the whole document; raises ConfigError where it is larger than it looks."""
        node = super().get_single_node()  # type: ignore[no-untyped-call, unused-ignore]
        if node is not None and _values(node, {}) > _MOST_VALUES:
            raise ConfigError(f"it has more than {_MOST_VALUES} values once all aliases (*name) are put in")
        return node  # type: ignore[no-any-return, unused-ignore]

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a node; raises ConfigError where it is none of a configuration's kinds."""
        line, value = node.start_mark.line + 1, node.value
        if node.tag not in _TAGS:
            raise ConfigError(f"line {line}: {node.tag[:80]} is no kind of value of a configuration: quote it as text")
        if node.tag in _NUMBERS and len(value) > _MOST_NUMBER:
            raise ConfigError(f"line {line}: a number of {len(value)} characters: expected at most {_MOST_NUMBER}")
        if node.tag in _NUMBERS and _OTHER_BASE.fullmatch(value):
            raise ConfigError(
                f"line {line}: {value[:40]!r} is a number to another base in YAML (1:30 is 90, 017 is 15): write the "
                "number in full, or quote it if it is text"
            )
        try:
            return super().construct_object(node, deep)  # type: ignore[no-untyped-call, unused-ignore]
        except (ConfigError, yaml.YAMLError):
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            kind = node.tag.rpartition(":")[2]
            raise ConfigError(f"line {line}: {str(value)[:40]!r} is no {kind}: quote it if it is text") from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return the mapping; raises ConfigError where a key is given twice, of which PyYAML keeps the last."""
        seen: dict[Any, int] = {}
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == "tag:yaml.org,2002:merge" or not isinstance(key_node, yaml.ScalarNode):
                continue
            key, line = key_node.value, key_node.start_mark.line + 1
            if key in seen:
                raise ConfigError(
                    f"line {line}: key '{key[:80]}' was given before, in line {seen[key]}; keep one of the two"
                )
            seen[key] = line
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return, no-untyped-call, unused-ignore]


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the values of a node as they will be after aliases are put in, each node once.

    Raises
    ------
    ConfigError
        It holds itself.
    """
    if id(node) not in known:
        known[id(node)] = 0
        inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        parts = inner if isinstance(node, yaml.CollectionNode) else ()
        known[id(node)] = 1 + sum(_values(part, known) for part in parts)
    elif known[id(node)] == 0:
        raise ConfigError(f"line {node.start_mark.line + 1}: a value holds itself, by an alias (*name)")
    return known[id(node)]


def parse_yaml(text: str) -> Any:
    """Return what a text says: mappings, lists, text, numbers, true, false and null.

    Raises
    ------
    ConfigError
        It is no YAML, or is none of a configuration's size and kinds; begins with the line where it is known.
    """
    if len(text) > MOST_BYTES:
        raise ConfigError(f"it has {len(text)} characters: expected at most {MOST_BYTES}")
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1} " if error.problem_mark else ""
        context = f" ({error.context})" if error.context else ""
        raise ConfigError(f"{line}is not valid YAML: {error.problem}{context}"[:500]) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"is not valid YAML in UTF-8: {error}") from error


def read_yaml(path: Path) -> Any:
    """Return what a file says.

    Raises
    ------
    ConfigError
        As ``parse_yaml``, with the file's name, or it is no text in UTF-8.
    """
    with path.open("rb") as file:
        raw = file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise ConfigError(f"{path} is larger than {MOST_BYTES} bytes: is it a configuration?")
    try:
        return parse_yaml(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not valid YAML in UTF-8: {error}") from error
    except ConfigError as error:
        separator = " " if str(error).startswith("is ") else ", "
        raise ConfigError(f"{path}{separator}{error}") from error
