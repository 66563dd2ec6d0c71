"""Group failures by cause: messages that differ only in numbers and paths have the same cause."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.storage.state.records import Kind, RecordHead, TaskRecord

_PATH = re.compile(r"(?<![\w.])(?:[A-Za-z]:)?(?:/[^\s/:;,'\"()\[\]]+)+/?")
_NUMBER = re.compile(r"\d+(\.\d+)?(e[+-]?\d+)?")

_MOST = 250
"""Distinct causes, stored in one byte per task; further ones are counted as "other causes"."""

_OTHER = "other causes"


def normalised(text: str) -> str:
    """Return a text with each path replaced by ``PATH`` and each number by ``#``."""
    return without_numbers(_PATH.sub("PATH", text))


def without_numbers(text: str) -> str:
    """Return a text with each number replaced by ``#``."""
    return _NUMBER.sub("#", text)


class Causes:
    """Cause of failure of each task, one byte per task; the last record of a task counts."""

    def __init__(self, sizes: dict[Kind, int]) -> None:
        self._of = {kind: np.zeros(size, np.uint8) for kind, size in sizes.items()}
        self._examples = [""]
        self._codes: dict[str, int] = {}

    def note(self, record: TaskRecord | RecordHead) -> None:
        """Take one record into account; tasks that are not in the plan are ignored."""
        codes = self._of[record.kind]
        if 0 <= record.index < len(codes):
            codes[record.index] = self._code(record.error or "unknown") if record.status == "failed" else 0

    def _code(self, error: str) -> int:
        key = normalised(error)
        if key not in self._codes:
            if len(self._codes) >= _MOST:
                key, error = _OTHER, _OTHER
            if key not in self._codes:
                self._codes[key] = len(self._examples)
                self._examples.append(error)
        return self._codes[key]

    def found(self, few: int) -> list[tuple[str, int, list[str]]]:
        """Return (first message, number of tasks, first few tasks) of each cause, the most frequent first."""
        rows = []
        for code in range(1, len(self._examples)):
            counts = {kind: int(np.count_nonzero(codes == code)) for kind, codes in self._of.items()}
            if total := sum(counts.values()):
                rows.append((self._examples[code], total, self._names(code, few)))
        return sorted(rows, key=lambda row: -row[1])

    def _names(self, code: int, few: int) -> list[str]:
        names: list[str] = []
        for kind, codes in self._of.items():
            names += [f"{kind}/{index}" for index in _first(codes, code, few - len(names))]
        return names


def _first(codes: NDArray[np.uint8], code: int, few: int) -> list[int]:
    return [int(index) for index in np.flatnonzero(codes == code)[: max(few, 0)]]
