"""Lines about what a start repairs, before its display is up: on the screen and in the log."""

from __future__ import annotations

import sys
from contextlib import suppress

from ssi_pipeline.redact import redact
from ssi_pipeline.run.progress import stamped
from ssi_pipeline.storage.state.document import StatePaths


def say_repaired(paths: StatePaths, text: str) -> None:
    """Say what was damaged and what was done about it."""
    line = redact(text)
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)
    with suppress(OSError), paths.log.open("a") as log:
        log.write(stamped(line))
