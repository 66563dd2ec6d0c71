"""Which tiles stand out of their run: robust z-scores of each metric within each channel.

What is usual differs from one data set to another by orders of magnitude, and nobody knows it beforehand; how far a
tile is from most others does not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]

_Z = 6.0
"""Robust standard deviations; the metrics of undisturbed tiles have tails far longer than a normal distribution's."""

_MAD_OF_NORMAL = 0.6745
_FEWEST = 8
"""Tiles of a channel without which nothing is usual."""

_BLAME = 0.75
"""A seam belongs to two tiles. One is blamed unless a neighbour's is so much worse that it is the neighbour's."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A metric that tells trouble.

    ``bad``: the direction. ``ratio``: judged by its logarithm. ``floor``: deviations smaller than ``_Z`` times
    this are no trouble, however much alike the tiles are; in units of the metric, or of its logarithm.
    ``least``: smaller values are as good as this.
    """

    name: str
    metric: str
    bad: Literal["high", "low", "both"]
    floor: float
    ratio: bool = False
    least: float = -np.inf


ALARMS = (
    Alarm("held-out", "heldout_excess", "high", 0.1, ratio=True, least=1e-5),
    Alarm("gain", "gain", "high", 0.02, ratio=True),
    Alarm("whiteness", "whiteness", "high", 0.1, ratio=True, least=5e-3),
    Alarm("r2r", "r2r_risk", "high", 0.1, ratio=True, least=1e-5),
    Alarm("chi2", "chi2", "both", 0.03, ratio=True),
    Alarm("flux", "flux_ratio", "both", 0.01, ratio=True),
    Alarm("clipped", "clipped_share", "high", 2e-3),
    Alarm("saturated", "saturated_share", "high", 5e-4),
    Alarm("impulses", "impulses", "high", 5e-4),
    Alarm("background", "background", "high", 0.1, ratio=True, least=2e-3),
    Alarm("seam", "seam", "high", 0.1, ratio=True, least=1e-3),
    Alarm("steps", "steps", "low", 0.2, ratio=True),
)
"""The bit of an alarm in a tile's flag is its place here; new ones are added at the end."""


def flags(metrics: Mapping[str, Values]) -> Values:
    """Return the alarms of each tile, as the sum of 2^i for alarm i; 0: none; NaN: not a tile that is done.

    Parameters
    ----------
    metrics
        By name, on the tile grid (t c z y x), NaN where a tile has none; those that are absent alarm nobody.
    """
    done = metrics["status"] == 1
    total = np.where(done, 0, np.nan).astype(np.float32)
    values = {**metrics, "gain": _gain(metrics)}
    for i, alarm in enumerate(ALARMS):
        if alarm.metric in values:
            total[done & _raised(alarm, values[alarm.metric])] += 2**i
    return total


def names_of(flag: float) -> list[str]:
    """Return the names of a tile's alarms."""
    bits = 0 if np.isnan(flag) else int(flag)
    return [alarm.name for i, alarm in enumerate(ALARMS) if bits >> i & 1]


def alarms_per_tile(flag: Values, names: Collection[str]) -> NDArray[np.int64]:
    """Return how many of the named alarms each tile has."""
    bits = np.nan_to_num(flag).astype(np.int64)
    counted = [bits >> i & 1 for i, alarm in enumerate(ALARMS) if alarm.name in names]
    return np.asarray(np.sum(counted, axis=0), np.int64)


def count_alarms(flag: Values) -> dict[str, int]:
    """Return how many tiles each alarm has been raised for, the most frequent first."""
    bits = np.nan_to_num(flag).astype(np.int64)
    counts = {alarm.name: int((bits >> i & 1).sum()) for i, alarm in enumerate(ALARMS)}
    return dict(sorted(((n, c) for n, c in counts.items() if c), key=lambda item: -item[1]))


def _gain(metrics: Mapping[str, Values]) -> Values:
    """Held-out loss over the linear solution's: a tile whose training came to little has about 1."""
    after, wiener = (metrics.get(name, np.float32(np.nan)) for name in ("heldout_after", "heldout_wiener"))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.broadcast_to(after / wiener, metrics["status"].shape), np.float32)


def _raised(alarm: Alarm, values: Values) -> NDArray[np.bool_]:
    raised = np.zeros(values.shape, bool)
    for c in range(values.shape[1]):
        z = _robust_z(values[:, c], alarm)
        raised[:, c] = {"high": z, "low": -z, "both": np.abs(z)}[alarm.bad] > _Z
    return raised & _to_blame(values) if alarm.metric == "seam" else raised


def _robust_z(values: Values, alarm: Alarm) -> NDArray[np.float64]:
    """Return (value - median) / spread, 0 where there is no value or too few tiles to say what is usual."""
    x = np.where(np.isfinite(values), np.maximum(values.astype(np.float64), alarm.least), np.nan)
    if alarm.ratio:
        x = np.log(np.where(x > 0, x, np.nan))
    finite = np.isfinite(x)
    if int(finite.sum()) < _FEWEST:
        return np.zeros(x.shape)
    middle = float(np.median(x[finite]))
    spread = float(np.median(np.abs(x[finite] - middle))) / _MAD_OF_NORMAL
    return np.where(finite, (x - middle) / max(spread, alarm.floor), 0.0)


def _to_blame(values: Values) -> NDArray[np.bool_]:
    """Return True where no neighbour along z, y or x has a far worse value."""
    known = np.nan_to_num(values, nan=-np.inf)
    worst = np.full(values.shape, -np.inf, np.float32)
    for axis in (2, 3, 4):
        ahead = [slice(None)] * 5
        behind = [slice(None)] * 5
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        for here, there in ((ahead, behind), (behind, ahead)):
            worst[tuple(here)] = np.maximum(worst[tuple(here)], known[tuple(there)])
    return np.asarray(known >= _BLAME * worst)
