"""Read a ledger as it grows: each look goes on where the last one ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from ssi_pipeline.errors import CorruptDataError
from ssi_pipeline.storage.records import RecordHead

Parsed = TypeVar("Parsed")


class LedgerTail:
    """A place in a ledger, between two lines. ``bytes_read`` is how far it is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = 0
        self._last = b""
        self.bytes_read = 0

    def heads(self) -> Iterator[RecordHead]:
        """Yield what was appended since the last look; raises CorruptDataError as ``read`` does."""
        return self.read(RecordHead.from_line)

    def read(self, parse: Callable[[bytes], Parsed]) -> Iterator[Parsed]:
        """Yield all lines from here on, parsed; a torn last line is left for the next look.

        Raises
        ------
        CorruptDataError
            A whole line is no record.
        """
        if not self._path.exists():
            return
        place, count, last = self.bytes_read, self._lines, self._last
        with self._path.open("rb") as stream:
            stream.seek(place)
            try:
                for line in stream:
                    if not line.endswith(b"\n"):
                        return
                    yield parse(line)
                    place, count, last = place + len(line), count + 1, line
            except (ValueError, TypeError) as error:
                raise CorruptDataError(
                    f"line {count + 1} of {self._path} is no ledger record ({error}); the file was changed by "
                    "something else: restore it, or start over with `ssi run --new`"
                ) from error
            finally:
                self.bytes_read, self._lines, self._last = place, count, last

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
