"""Which tiles stand out of their run: robust z-scores of each metric within each channel.

What is usual differs from one data set to another by orders of magnitude, and nobody knows it beforehand; how far a
tile is from most others does not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
    Alarm("background", "background_deviation", "high", 0.1, ratio=True, least=2e-3),
    Alarm("seam", "seam", "high", 0.1, ratio=True, least=1e-3),
    Alarm("steps", "steps", "low", 0.2, ratio=True),
)
"""The bit of an alarm in a tile's flag is its place here; new ones are added at the end."""


def flags(metrics: Mapping[str, Values], blank: NDArray[np.bool_] | None = None) -> Values:
    """Return the alarms of each tile, as the sum of 2^i for alarm i; 0: none; NaN: not a tile that is done.

    Parameters
    ----------
    metrics
        By name, on the tile grid (t c z y x), NaN where a tile has none; those that are absent alarm nobody.
    blank
        Tiles of noise alone. They are judged among themselves, and the others without them: where most of a volume is
        empty, what is usual there would make every tile with something in it stand out. None: there are none.
    """
    done = metrics["status"] == 1
    total = np.where(done, 0, np.nan).astype(np.float32)
    values = {**metrics, "gain": _gain(metrics)}
    kinds = [np.ones(done.shape, bool)] if blank is None else [blank, ~blank]
    for i, alarm in enumerate(ALARMS):
        if alarm.metric in values:
            total[done & _raised(alarm, values[alarm.metric], kinds)] += 2**i
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


def _raised(alarm: Alarm, values: Values, kinds: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    raised = np.zeros(values.shape, bool)
    for c in range(values.shape[1]):
        for kind in kinds:
            z = _robust_z(np.where(kind[:, c], values[:, c], np.nan), alarm)
            raised[:, c] |= {"high": z, "low": -z, "both": np.abs(z)}[alarm.bad] > _Z
    return raised & _to_blame(values) if alarm.metric == "seam" else raised


def _robust_z(values: Values, alarm: Alarm) -> NDArray[np.float64]:
    """Return (value - median) / spread, 0 where there is no value or too few tiles to say what is usual.

    An excess that is all error of measurement scatters about 0. There logarithms of what is above ``least`` tell
    nothing, and most are alike: so a high value has to be far by itself too. (Where the values spread by factors it
    is: exp(z) - 1 > z.)
    """
    x = np.where(np.isfinite(values), values.astype(np.float64), np.nan)
    if not alarm.ratio:
        return _standard(x, alarm.floor)
    bounded = np.maximum(x, alarm.least)
    z = _standard(np.log(np.where(bounded > 0, bounded, np.nan)), alarm.floor)
    return np.minimum(z, _standard(x, 0.0)) if np.isfinite(alarm.least) else z


def _standard(x: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    finite = np.isfinite(x)
    if int(finite.sum()) < _FEWEST:
        return np.zeros(x.shape)
    middle = float(np.median(x[finite]))
    spread = max(float(np.median(np.abs(x[finite] - middle))) / _MAD_OF_NORMAL, floor, np.finfo(float).tiny)
    return np.where(finite, (x - middle) / spread, 0.0)


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
