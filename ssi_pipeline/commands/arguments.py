"""Parser of the command line that suggests what was meant, and checks of single values."""

from __future__ import annotations

import argparse
import difflib
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ssi_pipeline.redact import redact

if TYPE_CHECKING:
    from ssi_pipeline.config.url import Url

_OTHER_NAMES = {"--all": "--full", "--verbose": "-v", "--quiet": "-q"}
"""Options by other names, of earlier releases or of other programs."""

_UNKNOWN_COMMAND = re.compile(r"argument COMMAND: invalid choice: '([^']*)'")


_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""A URL; one letter before the colon is a drive."""


class Parser(argparse.ArgumentParser):
    """Parser that suggests the nearest command or option.

    ``parsers``: of the commands, by name. ``options``: names of its own options.
    """

    def __init__(self, **settings: Any) -> None:
        self.parsers: dict[str, Parser] = {}
        self.options: list[str] = []
        super().__init__(**settings)
        self.register("type", Path, _local)

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """Add an argument, and remember the names of an option."""
        action = super().add_argument(*names, **settings)
        self.options += action.option_strings
        return action

    def parse_all(self, arguments: Sequence[str] | None, options: argparse.Namespace) -> None:
        """Parse the whole command line into ``options``; unknown arguments are an error of their command."""
        _, extra = self.parse_known_args(arguments, options)
        if extra:
            parser: Parser = options.parser
            parser.error(f"unknown argument {extra[0]!r}{_hint(extra[0], parser.options)}")

    def error(self, message: str) -> NoReturn:
        """Print a message in place of the usage, which ``--help`` shows, and exit with status 2."""
        unknown = _UNKNOWN_COMMAND.match(message)
        if unknown:
            message = f"unknown command {unknown[1]!r}{_hint(unknown[1], list(self.parsers))}"
        more = "" if message.endswith("?") else f"; see `{self.prog} --help`"
        self.exit(2, f"{self.format_usage()}{self.prog}: {message}{more}\n")


def _hint(given: str, known: Sequence[str]) -> str:
    name = given.partition("=")[0]
    other = _OTHER_NAMES.get(name)
    close = [other] if other in known else difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def count(text: str) -> int:
    """Parse a number of items, from 1."""
    # the pattern first: int() accepts 1_0 and digits of other alphabets, and is slow for very long numbers
    if not re.fullmatch(r"[0-9]{1,7}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 9999999, found {text[:40]!r}")
    return int(text)


Add = Callable[[str, str], Parser]
"""Adds a command with its name and help; returns the parser of its options."""


def add_json(parser: Parser) -> None:
    """Add the option that prints a result for programs."""
    parser.add_argument("--json", action="store_true", help="print one JSON document (docs/command-line.md)")


def interval(text: str) -> float:
    """Parse an interval in seconds."""
    seconds = _number(text)
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"expected 0.1 to 86400 seconds, found {text[:40]!r}")
    return seconds


def positive(text: str) -> float:
    """Parse a number above 0."""
    number = _number(text)
    if not (number > 0 and math.isfinite(number)):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text[:40]!r}")
    return number


def lengths(text: str) -> tuple[float, ...]:
    """Parse two or three lengths, in the order (z) y x."""
    values = tuple(positive(part) for part in text.split(","))
    if len(values) not in (2, 3):
        raise argparse.ArgumentTypeError(f"expected two or three numbers, (z,)y,x, found {text[:40]!r}")
    return values


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


IMMERSIONS = {"air": 1.0, "water": 1.333, "silicone": 1.406, "glycerol": 1.47, "oil": 1.515}
"""Refractive index of immersion media at 20 to 25 °C, as designed for by objectives."""


def immersion(text: str) -> float:
    """Parse an immersion medium, or its refractive index."""
    if text in IMMERSIONS:
        return IMMERSIONS[text]
    index = _number(text)
    if not 1 <= index <= 4:
        raise argparse.ArgumentTypeError(f"expected {', '.join(IMMERSIONS)} or a refractive index, found {text[:40]!r}")
    return index


def _local(text: str) -> Path:
    """Return a path; a URL would be the name of a folder here."""
    if _ADDRESS.match(text):
        raise argparse.ArgumentTypeError(
            f"expected a path, found the URL {redact(text)}: URLs are for images (input.path, output.path, `ssi info`)"
        )
    return Path(text)


def folder(text: str) -> Path:
    """Return the path of an output, which must be on a file system."""
    if _ADDRESS.match(text):
        raise argparse.ArgumentTypeError(
            "expected the path of an output, found a URL: copy the output, or mount the store"
        )
    return Path(text)


def place(text: str) -> Path | Url:
    """Return the path or URL of an image."""
    if not _ADDRESS.match(text):
        return Path(text)
    from ssi_pipeline.config.url import place_of  # pydantic: not for every command

    try:
        return place_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
