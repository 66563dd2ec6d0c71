"""Failed tasks of a run, by cause, and the messages of the last ones."""

from __future__ import annotations

from dataclasses import dataclass

from ssi_pipeline.results.failure_reasons import Causes
from ssi_pipeline.storage.state.records import Kind, RecordHead, TaskRecord

_MOST_TEXTS = 200
_LONGEST = 600
_FIRST_KEYS = 5


@dataclass(frozen=True, slots=True)
class Cause:
    """Tasks that failed for the same reason: first message, number of tasks, first tasks."""

    text: str
    count: int
    first: tuple[str, ...]


class Failures:
    """Causes, one byte per task, and the messages of the last failures; without failures nothing is counted."""

    def __init__(self, sizes: dict[Kind, int]) -> None:
        self._causes = Causes(sizes)
        self._last: dict[str, str] = {}
        self._any = False

    def note(self, head: RecordHead | TaskRecord) -> None:
        """Take one record into account."""
        failed = head.status == "failed"
        if not (failed or self._any):
            return
        self._any = True
        self._causes.note(head)
        self._last.pop(head.key, None)
        if failed:
            self._last[head.key] = (head.error or "unknown")[:_LONGEST]
            if len(self._last) > _MOST_TEXTS:
                del self._last[next(iter(self._last))]

    def last(self) -> tuple[tuple[str, str], ...]:
        """Return key and message of the last failed tasks, in order of time."""
        return tuple(self._last.items())

    def causes(self) -> tuple[Cause, ...]:
        """Return the causes of failure, the most frequent first."""
        found = self._causes.found(_FIRST_KEYS) if self._any else []
        return tuple(Cause(text[:_LONGEST], count, tuple(names)) for text, count, names in found)
