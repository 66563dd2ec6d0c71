"""What tifffile says of a file in its log, where it goes on with what it could read."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_MOST = 50
"""A broken file can make a record for each of a million pages."""

_LONGEST = 200

_MISSING = re.compile(
    r"missing data|is missing \d+|out of range|failed to read|corrupted|circular|invalid page offset|"
    r"invalid offset|missing required tags|cannot handle discontiguous",
    re.IGNORECASE,
)
"""Words for pixels that are promised and not there. Not the only check: see ``completeness``."""


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record of this thread; others may be opening other files."""
        if record.thread in (self._thread, None) and len(self.found) < _MOST:
            self.found.append(_short(record.getMessage()))


def _short(text: str) -> str:
    """Without the representation of the object that tifffile begins with, on one line."""
    words = " ".join(re.sub(r"<tifffile\.[^<>]*>|<tifffile\.\S+ '.*?'>", "", text).split())
    return words if len(words) <= _LONGEST else words[: _LONGEST - 3] + "..."


@contextmanager
def tifffile_records() -> Iterator[list[str]]:
    """Collect tifffile's warnings and errors in this thread, up to 50; they are not printed meanwhile."""
    listener, logger = _Listener(), logging.getLogger("tifffile")
    logger.addHandler(listener)
    try:
        yield listener.found
    finally:
        logger.removeHandler(listener)


def means_missing(record: str) -> bool:
    """Tell whether a record says that pixels are not there."""
    return _MISSING.search(record) is not None
