"""Why tasks failed, grouped: a million failures have a handful of causes."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.storage.records import Kind, RecordHead

_NUMBER = re.compile(r"\d+(\.\d+)?(e[+-]?\d+)?")
_MOST_CAUSES = 50
_MOST_TEXTS = 200
_LONGEST = 600
_FIRST_KEYS = 5
_NONE = 0
_OTHER = "other causes"


@dataclass(frozen=True, slots=True)
class Cause:
    """Tasks that failed with messages that differ in numbers alone: the first message, and the first tasks."""

    text: str
    count: int
    first: tuple[str, ...]


class Failures:
    """The tasks that have failed and not been done since; a byte a task, and the texts of the last ones."""

    def __init__(self, sizes: dict[Kind, int]) -> None:
        self._causes = {kind: np.full(size, _NONE, np.uint8) for kind, size in sizes.items()}
        self._numbers: dict[str, int] = {}
        self._examples: list[str] = []
        self._last: dict[str, str] = {}
        self._any = False

    def note(self, head: RecordHead) -> None:
        """Take one record of a task of the plan into account."""
        if head.status == "failed":
            self._any = True
            text = (head.error or "unknown")[:_LONGEST]
            self._causes[head.kind][head.index] = self._number(text)
            self._last.pop(head.key, None)
            self._last[head.key] = text
            if len(self._last) > _MOST_TEXTS:
                del self._last[next(iter(self._last))]
        elif self._any:
            self._causes[head.kind][head.index] = _NONE
            self._last.pop(head.key, None)

    def _number(self, text: str) -> int:
        """Return the number of a message's group, from 1; what comes after many groups is one more."""
        key = without_numbers(text)
        if key not in self._numbers and len(self._numbers) >= _MOST_CAUSES:
            key, text = _OTHER, _OTHER
        if key not in self._numbers:
            self._examples.append(text)
            self._numbers[key] = len(self._examples)
        return self._numbers[key]

    def last(self) -> tuple[tuple[str, str], ...]:
        """Return key and message of the last tasks that failed, in the order of their failing."""
        return tuple(self._last.items())

    def causes(self) -> tuple[Cause, ...]:
        """Return what tasks failed of, the most frequent first."""
        if not self._any:
            return ()
        found = []
        for number, text in enumerate(self._examples, 1):
            count = sum(int(np.count_nonzero(causes == number)) for causes in self._causes.values())
            if count:
                found.append(Cause(text, count, self._first(number)))
        return tuple(sorted(found, key=lambda cause: -cause.count))

    def _first(self, number: int) -> tuple[str, ...]:
        keys = (f"{kind}/{index}" for kind, causes in self._causes.items() for index in _where(causes, number))
        return tuple(key for key, _ in zip(keys, range(_FIRST_KEYS), strict=False))


def _where(causes: NDArray[np.uint8], number: int) -> list[int]:
    return [int(index) for index in np.flatnonzero(causes == number)[:_FIRST_KEYS]]


def without_numbers(text: str) -> str:
    """Return a text with each number as ``#``, so that messages that differ in numbers alone are one."""
    return _NUMBER.sub("#", text)
