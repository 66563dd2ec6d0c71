"""The tasks that have failed and not been done since: by cause, and the last of them one by one."""

from __future__ import annotations

from dataclasses import dataclass

from ssi_pipeline.results.failure_reasons import Causes
from ssi_pipeline.storage.state.records import Kind, RecordHead, TaskRecord

_MOST_TEXTS = 200
_LONGEST = 600
_FIRST_KEYS = 5


@dataclass(frozen=True, slots=True)
class Cause:
    """Tasks that failed for the same reason: the first message, how many they are, and the first of them."""

    text: str
    count: int
    first: tuple[str, ...]


class Failures:
    """A byte a task for its cause, and the texts of the last failures; nothing is done before the first one."""

    def __init__(self, sizes: dict[Kind, int]) -> None:
        self._causes = Causes(sizes)
        self._last: dict[str, str] = {}
        self._any = False

    def note(self, head: RecordHead | TaskRecord) -> None:
        """Take one record of a task of the plan into account."""
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
        """Return key and message of the last tasks that failed, in the order of their failing."""
        return tuple(self._last.items())

    def causes(self) -> tuple[Cause, ...]:
        """Return what tasks failed of, the most frequent first."""
        found = self._causes.found(_FIRST_KEYS) if self._any else []
        return tuple(Cause(text[:_LONGEST], count, tuple(names)) for text, count, names in found)
