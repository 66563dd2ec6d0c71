"""What the commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from ssi_pipeline.error_handler import visible


class Screen:
    """Printer of one command. With ``--json`` standard output has one JSON document, and all text is on the other."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.json: bool = getattr(options, "json", False)
        self.quiet: bool = options.verbosity < 0

    def say(self, text: str, end: str = "\n") -> None:
        """Print a line of the result."""
        print(visible(text), end=end, file=sys.stderr if self.json else sys.stdout)

    def hint(self, text: str) -> None:
        """Print a line that is no result; left out with ``-q``, and where standard error is full."""
        if not self.quiet:
            note(text)

    def result(self, rows: Sequence[tuple[str, str]], document: dict[str, Any]) -> None:
        """Print a result: as rows of name and value, or with ``--json`` as a document."""
        if self.json:
            print(json.dumps(document, indent=2, allow_nan=False))
            return
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            self.say(f"{name:<{width}}  {value}")


def note(text: str) -> None:
    """Print a line on standard error; it is dropped where that is full, as no command fails because of it."""
    try:
        print(visible(text), file=sys.stderr, flush=True)
    except BrokenPipeError:  # the reader of the pipe ended: stop
        raise
    except OSError:
        return


def named(options: argparse.Namespace) -> str:
    """Return the configuration as it stands in a command: its file, its changes, its image, quoted for a shell."""
    image = getattr(options, "image", None)
    words = [str(options.config), *(word for change in options.set for word in ("--set", change))]
    return shlex.join([*words, *(() if image is None else ("--image", image))])
