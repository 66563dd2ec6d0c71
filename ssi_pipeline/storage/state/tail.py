"""Read a ledger as it grows: each look goes on where the last one ended.

A line that cannot be read (a page of zeros that a network file system left, a flipped bit) is passed over and
counted: whichever task it was of counts as not done. Nothing else of the ledger is worth less for it.
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
    """How many whole lines of a ledger are no records, and which ones are the first of them (from 1)."""

    path: Path
    count: int = 0
    first: list[int] = field(default_factory=list)

    def note(self, number: int) -> None:
        """Count one more."""
        self.count += 1
        if len(self.first) < _MOST_NUMBERS:
            self.first.append(number)

    def __str__(self) -> str:
        """Return how many, and where."""
        shown = ", ".join(map(str, self.first)) + (", ..." if self.count > len(self.first) else "")
        lines = "line" if self.count == 1 else "lines"
        return f"{self.count} {lines} of {self.path} cannot be read ({lines} {shown})"


class LedgerTail:
    """A place in a ledger, between two lines. ``bytes_read`` is how far it is, ``unreadable`` what was passed over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = 0
        self._last = b""
        self.bytes_read = 0
        self.unreadable = UnreadableLines(path)

    def heads(self) -> Iterator[RecordHead]:
        """Yield what was appended since the last look."""
        return self.read(RecordHead.from_line)

    def read(self, parse: Callable[[bytes], Parsed]) -> Iterator[Parsed]:
        """Yield all records from here on, parsed; a torn last line is left for the next look."""
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
        """Count zeros that follow the last line, where nobody is writing: a crash has left them for what it took."""
        if self._path.exists():
            with self._path.open("rb") as stream:
                stream.seek(self.bytes_read)
                if b"\0" in stream.read():
                    self.unreadable.note(self._lines + 1)

    def replaced(self) -> bool:
        """Tell whether the ledger is shorter than what was read of it, or another one: read it from its start then."""
        if not self.bytes_read:
            return False
        try:
            with self._path.open("rb") as stream:
                stream.seek(self.bytes_read - len(self._last))
                return stream.read(len(self._last)) != self._last
        except FileNotFoundError:
            return True


def records_and_gaps(path: Path, parse: Callable[[bytes], Parsed]) -> Iterator[Parsed | None]:
    """Yield what a ledger says in its order, None wherever something was that cannot be read."""
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
    """Return a line without its end and the zeros around it, and whether there were any: something was lost there."""
    whole = line.strip(b"\0\n")
    return whole, len(whole) < len(line) - 1
