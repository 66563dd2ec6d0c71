"""Strict YAML for configurations: plain values, no duplicate keys, and size limits checked before construction."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ssi_pipeline.errors import ConfigError

MOST_BYTES = 256 * 2**10
"""The template with all comments has 12 kB; PyYAML parses 100 kB per second."""

_MOST_DEPTH = 16
"""Nested sections, lists and mappings; a configuration has at most five levels."""

_MOST_VALUES = 20_000
"""Values after aliases are expanded: nested aliases in a small file can exceed any memory."""

_MOST_NUMBER = 64
"""Characters of a number. Python refuses to parse or print more than 4300 digits."""

_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map", "merge")
)
_NUMBERS = frozenset(("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"))
_TEXT = "tag:yaml.org,2002:str"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


_OTHER_BASE = re.compile(r"[-+]?([0-9_.]+(:[0-9_.]+)+|0[0-9_]+)")
"""YAML 1.1 parses 1:30 as 90 and 017 as 15; a time, a range or a name means neither, so both stay text."""


class _Loader(yaml.SafeLoader):
    """A SafeLoader that builds plain values only. Dates stay text: no option is a date, but folders have such names."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node; raise ConfigError if it is nested too deeply."""
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call, unused-ignore]
            raise ConfigError(f"line {line}: lists and mappings are nested more than {_MOST_DEPTH} deep")
        node = super().compose_node(parent, index)  # type: ignore[no-untyped-call, unused-ignore]
        self._depth -= 1
        return node  # type: ignore[no-any-return, unused-ignore]

    def get_single_node(self) -> yaml.Node | None:
        """Return the whole document; raise ConfigError if it is too large with aliases expanded."""
        node = super().get_single_node()  # type: ignore[no-untyped-call, unused-ignore]
        if node is not None and _values(node, {}) > _MOST_VALUES:
            raise ConfigError(f"it has more than {_MOST_VALUES} values after all aliases (*name) are expanded")
        return node  # type: ignore[no-any-return, unused-ignore]

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a node; raise ConfigError if its type is not supported."""
        line, value = node.start_mark.line + 1, node.value
        if node.tag not in _TAGS:
            raise ConfigError(f"line {line}: type {node.tag[:80]} is not supported: quote the value to make it text")
        if node.tag in _NUMBERS and len(value) > _MOST_NUMBER:
            raise ConfigError(f"line {line}: a number of {len(value)} characters: expected at most {_MOST_NUMBER}")
        if node.tag in _NUMBERS and _OTHER_BASE.fullmatch(value):
            node = yaml.ScalarNode(_TEXT, value, node.start_mark, node.end_mark)
        try:
            return super().construct_object(node, deep)  # type: ignore[no-untyped-call, unused-ignore]
        except (ConfigError, yaml.YAMLError):
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            kind = node.tag.rpartition(":")[2]
            raise ConfigError(f"line {line}: {str(value)[:40]!r} is no valid {kind}: quote it if it is text") from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return the mapping; raise ConfigError for duplicate keys, of which PyYAML would keep the last."""
        seen: dict[Any, int] = {}
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == "tag:yaml.org,2002:merge" or not isinstance(key_node, yaml.ScalarNode):
                continue
            key, line = key_node.value, key_node.start_mark.line + 1
            if key in seen:
                raise ConfigError(
                    f"line {line}: duplicate key '{key[:80]}', first given in line {seen[key]}; keep one of the two"
                )
            seen[key] = line
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return, no-untyped-call, unused-ignore]


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the values of a node after aliases are expanded; each node is visited once.

    Raises
    ------
    ConfigError
        The node contains itself.
    """
    if id(node) not in known:
        known[id(node)] = 0
        inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        parts = inner if isinstance(node, yaml.CollectionNode) else ()
        known[id(node)] = 1 + sum(_values(part, known) for part in parts)
    elif known[id(node)] == 0:
        raise ConfigError(f"line {node.start_mark.line + 1}: a value contains itself through an alias (*name)")
    return known[id(node)]


def parse_yaml(text: str) -> Any:
    """Parse YAML text into mappings, lists, text, numbers, true, false and null.

    Raises
    ------
    ConfigError
        The text is not valid YAML, too large, or has unsupported types; begins with the line if known.
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
    """Parse a YAML file.

    Raises
    ------
    ConfigError
        As ``parse_yaml``, with the file's name; or the file is not UTF-8.
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
