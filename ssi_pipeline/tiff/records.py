"""Log messages of tifffile, which continues after errors with partial data."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_MOST = 50
"""Most records: a broken file can log one for each of a million pages."""

_LONGEST = 200

_MISSING = re.compile(
    r"missing data|is missing \d+|out of range|failed to read|corrupted|circular|invalid page offset|"
    r"invalid offset|missing required tags|cannot handle discontiguous",
    re.IGNORECASE,
)
"""Messages about missing pixels; a second check beside ``completeness``."""


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Store records of this thread only; others may be opening other files."""
        if record.thread in (self._thread, None) and len(self.found) < _MOST:
            self.found.append(_short(record.getMessage()))


def _short(text: str) -> str:
    """Shorten a message: one line, without tifffile's object prefix."""
    words = " ".join(re.sub(r"<tifffile\.[^<>]*>|<tifffile\.\S+ '.*?'>", "", text).split())
    return words if len(words) <= _LONGEST else words[: _LONGEST - 3] + "..."


@contextmanager
def tifffile_records() -> Iterator[list[str]]:
    """Collect tifffile's warnings and errors of this thread, up to 50, without printing them."""
    listener, logger = _Listener(), logging.getLogger("tifffile")
    logger.addHandler(listener)
    try:
        yield listener.found
    finally:
        logger.removeHandler(listener)


def means_missing(record: str) -> bool:
    """Tell whether a record reports missing pixels."""
    return _MISSING.search(record) is not None
