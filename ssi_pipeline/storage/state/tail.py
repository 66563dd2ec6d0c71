"""Incremental reader of a growing ledger: each read continues where the last one ended.

Unreadable lines (a page of zeros from a network file system, a flipped bit) are skipped and counted: their tasks count
as not done. All other lines stay valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ssi_pipeline.storage.state.records import RecordHead

Parsed = TypeVar("Parsed")

_MOST_NUMBERS = 10


@dataclass(slots=True)
class UnreadableLines:
    """Number of unreadable lines of a ledger, and the first line numbers (from 1)."""

    path: Path
    count: int = 0
    first: list[int] = field(default_factory=list)

    def note(self, number: int) -> None:
        """Count one line."""
        self.count += 1
        if len(self.first) < _MOST_NUMBERS:
            self.first.append(number)

    def __str__(self) -> str:
        """Describe number and positions."""
        shown = ", ".join(map(str, self.first)) + (", ..." if self.count > len(self.first) else "")
        lines = "line" if self.count == 1 else "lines"
        return f"{self.count} {lines} of {self.path} cannot be read ({lines} {shown})"


class LedgerTail:
    """Position in a ledger, between two lines. ``bytes_read``: offset; ``unreadable``: skipped lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = 0
        self._last = b""
        self.bytes_read = 0
        self.unreadable = UnreadableLines(path)

    def heads(self) -> Iterator[RecordHead]:
        """Yield the records appended since the last read."""
        return self.read(RecordHead.from_line)

    def read(self, parse: Callable[[bytes], Parsed]) -> Iterator[Parsed]:
        """Yield all further records, parsed; a truncated last line is left for the next read."""
        if not self._path.exists():
            return
        place, count, last = self.bytes_read, self._lines, self._last
        with self._path.open("rb") as stream:
            stream.seek(place)
            try:
                for line in stream:
                    if not line.endswith(b"\n"):
                        return
                    place, count, last = place + len(line), count + 1, line
                    whole, damaged = _without_zeros(line)
                    try:
                        found = parse(whole)
                    except (ValueError, TypeError):
                        self.unreadable.note(count)
                        continue
                    if damaged:
                        self.unreadable.note(count)
                    yield found
            finally:
                self.bytes_read, self._lines, self._last = place, count, last

    def note_zeros_at_end(self) -> None:
        """Count zeros after the last line as an unreadable line: with no writer, a crash left them."""
        if self._path.exists():
            with self._path.open("rb") as stream:
                stream.seek(self.bytes_read)
                if b"\0" in stream.read():
                    self.unreadable.note(self._lines + 1)

    def replaced(self) -> bool:
        """Tell whether the ledger was truncated or replaced, so that it must be read from its start."""
        if not self.bytes_read:
            return False
        try:
            with self._path.open("rb") as stream:
                stream.seek(self.bytes_read - len(self._last))
                return stream.read(len(self._last)) != self._last
        except FileNotFoundError:
            return True


def records_and_gaps(path: Path, parse: Callable[[bytes], Parsed]) -> Iterator[Parsed | None]:
    """Yield the records of a ledger in order, None for unreadable lines."""
    if not path.exists():
        return
    with path.open("rb") as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                if b"\0" in line:
                    yield None
                return
            whole, damaged = _without_zeros(line)
            if damaged:
                yield None
            try:
                yield parse(whole)
            except (ValueError, TypeError):
                yield None


def _without_zeros(line: bytes) -> tuple[bytes, bool]:
    """Return a line without its end and surrounding zeros, and whether there were zeros (lost data)."""
    whole = line.strip(b"\0\n")
    return whole, len(whole) < len(line) - 1
