"""Configuration templates that `ssi init` writes, and what an image and its optics fill into them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files

FILL_IN = "FILL IN"
"""Marks the lines that a user has to complete. They have no value, so that loading refuses the file until then."""


def template_text() -> str:
    """Return the YAML text of all options with default, unit and description."""
    return _text("template.yaml")


def first_template_text() -> str:
    """Return the YAML text of the about ten options to set first."""
    return _text("template_first.yaml")


def _text(name: str) -> str:
    return (files("ssi_pipeline.config") / name).read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Line:
    """One option: its value as YAML, None where the user has to fill it in; ``shown``: commented, for information."""

    value: str | None
    comment: str = ""
    shown: bool = False

    def text(self, key: str) -> str:
        """Return the line of a section, with its comment in the column of the templates."""
        option = f"  {'#' if self.shown else ''}{key}:{'' if self.value is None else f' {self.value}'}"
        comment = f"{FILL_IN}: {self.comment}" if self.value is None else self.comment
        return f"{option:<27} # {comment}" if comment else option


@dataclass(frozen=True, slots=True)
class Filling:
    """What to fill into a template; sections that are None or empty stay as they are."""

    input: Mapping[str, Line] = field(default_factory=dict)
    output: Mapping[str, Line] = field(default_factory=dict)
    psf: Mapping[str, Line] = field(default_factory=dict)
    tiling: Mapping[str, Line] = field(default_factory=dict)

    @property
    def lacking(self) -> list[str]:
        """Names of the options that the user has to fill in."""
        sections = {"input": self.input, "output": self.output, "psf": self.psf, "tiling": self.tiling}
        return [
            f"{name}.{key}" for name, lines in sections.items() for key, line in lines.items() if line.value is None
        ]


def fill(text: str, filling: Filling) -> str:
    """Return a template with the lines of a filling in place of its own; options that it lacks are added."""
    if filling.psf:
        lines = "\n".join(["psf:", *(line.text(key) for key, line in filling.psf.items())])
        text = re.sub(r"^psf:\n(?:  .*\n)+", lambda _: lines + "\n", text, count=1, flags=re.MULTILINE)
    for section in ("input", "output", "tiling"):
        for key, line in getattr(filling, section).items():
            text = _with_line(text, section, key, line.text(key))
    return text


def _with_line(text: str, section: str, key: str, line: str) -> str:
    """Replace the line of an option, commented or not, or add it at the end of its section."""
    found = re.search(rf"^{section}:\n((?:  .*\n)+)", text, re.MULTILINE)
    assert found is not None, section
    body, count = re.subn(rf"^  #?{key}:.*$", lambda _: line, found[1], count=1, flags=re.MULTILINE)
    return text[: found.start(1)] + (body if count else f"{body}{line}\n") + text[found.end(1) :]


def as_yaml(text: str) -> str:
    """Return text as a YAML value, in quotes where it needs them."""
    return text if re.fullmatch(r"[A-Za-z_./][\w./+-]*", text) else json.dumps(text, ensure_ascii=False)
