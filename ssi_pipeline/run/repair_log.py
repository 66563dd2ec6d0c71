"""Log repairs at the start of a run, before its display exists: on the screen and in the log."""

from __future__ import annotations

import sys
from contextlib import suppress

from ssi_pipeline.redact import redact
from ssi_pipeline.run.progress import stamped
from ssi_pipeline.storage.state.document import StatePaths


def log_repair(paths: StatePaths, text: str) -> None:
    """Log a repair: the damage, and the measure taken."""
    line = redact(text)
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)
    with suppress(OSError), paths.log.open("a") as log:
        log.write(stamped(line))
