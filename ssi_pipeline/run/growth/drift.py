"""Compare the noise of new time points with that of the first ones, on which the channels were calibrated."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import median

from ssi_pipeline.storage.state.records import RecordHead, TaskRecord
from ssi_pipeline.storage.state.tail import LedgerTail
from ssi_pipeline.tasks import Context

LIMIT = 1.25
"""Factor between the chi2 of a time point and that of the first ones: an alarm of single tiles starts at 1.2."""

_ERRORS = 5.0
"""Least difference in standard errors of the two medians: of few or small tiles chi2 itself is noisy."""

_SIGMA_OF_MAD, _ERROR_OF_MEDIAN = 1.4826, 1.2533
"""Of a normal distribution: its standard deviation by the median absolute one; error of the median by the mean's."""


class Drift:
    """Median chi2 of the tiles of each time point and channel, from the ledger.

    chi2 is the mean square of the residual over the variance that the calibration expects of the noise. It rises or
    falls with gain, read noise and dark level, and rises where the PSF no longer fits; bleaching leaves it as it is.
    """

    def __init__(self, context: Context) -> None:
        self._first = context.document.first_frames or 1
        self._tail = LedgerTail(context.paths.ledger)
        self._values: defaultdict[tuple[int, int], dict[int, float]] = defaultdict(dict)
        self._judged = 0
        self._beyond: dict[int, str] = {}

    @property
    def beyond(self) -> tuple[str, ...]:
        """A sentence for each channel that has drifted, as of the last time point."""
        return tuple(self._beyond.values())

    def look(self, context: Context) -> Iterator[str]:
        """Yield a sentence for each channel that leaves the range of the first time points, or returns to it."""
        self._read(context)
        for t in range(max(self._first, self._judged), context.plan.shape[0]):
            for c in range(context.plan.shape[1]):
                yield from self._judge(t, c)
                self._values.pop((t, c), None)
        self._judged = context.plan.shape[0]

    def _read(self, context: Context) -> None:
        def parse(line: bytes) -> TaskRecord | None:
            """Return the record of a tile, None for others."""
            return TaskRecord.from_line(line) if RecordHead.from_line(line).kind == "solve" else None

        for record in self._tail.read(parse):
            chi2 = None if record is None else record.quality.get("chi2")
            if record is not None and record.status == "done" and chi2 and record.index < context.plan.n_tiles:
                tile = context.plan.tile(record.index)
                self._values[tile.t, tile.c][tile.index] = float(chi2)

    def _judge(self, t: int, c: int) -> Iterator[str]:
        now = list(self._values.get((t, c), {}).values())
        first = [value for k in range(self._first) for value in self._values.get((k, c), {}).values()]
        if not now or not first:
            return
        found, expected = median(now), median(first)
        if _differ(now, first):
            line = (
                f"channel {c}: chi2 is {found:.2f} at time point {t}, and {expected:.2f} on the first {self._first}: "
                "the noise, the dark level or the PSF is no longer that of the calibration"
            )
            if c not in self._beyond:
                yield f"drift: {line}. Check lamp, camera and focus; a new calibration needs a new run"
            self._beyond[c] = line
        elif self._beyond.pop(c, None) is not None:
            yield f"channel {c}: at time point {t} the noise is again that of the first {self._first}"


def _differ(now: Sequence[float], first: Sequence[float]) -> bool:
    """Return whether the medians of two sets of chi2 differ by more than the limit, and than chance."""
    logs = [math.log(value) for value in first]
    middle = median(logs)
    spread = _SIGMA_OF_MAD * median(abs(value - middle) for value in logs)
    error = _ERROR_OF_MEDIAN * spread * math.sqrt(1 / len(now) + 1 / len(first))
    return abs(math.log(median(now)) - middle) > max(math.log(LIMIT), _ERRORS * error)
