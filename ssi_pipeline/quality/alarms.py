"""Flag the outlier tiles of a run by robust z-scores of each metric within each channel.

The typical value of a metric differs between data sets by orders of magnitude, so that no fixed threshold serves. The
distance of a tile from the median of its channel, in robust standard deviations, is comparable.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy  # loads ndimage at its first use: ssi status needs none
from numpy.typing import NDArray

from ssi_pipeline.methods import RESULTS, UNMEASURED

Values = NDArray[np.float32]

_Z = 6.0
"""Threshold in robust standard deviations: metrics of intact tiles have longer tails than a normal distribution."""

_MAD_OF_NORMAL = 0.6745
_FEWEST = 8
"""Fewest tiles of a channel from which median and spread are estimated."""

_WORSE_NEIGHBOUR = 0.75
"""A seam belongs to two tiles: a tile is not flagged where its value is below this share of a neighbour's."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm: a metric, the direction in which it is bad, and the least deviation that counts.

    Attributes
    ----------
    name
        Name in reports and exports.
    metric
        Name of the metric.
    bad
        Direction of deviations that raise it.
    floor
        Smallest spread assumed, in units of the metric or of its logarithm: deviations below ``_Z`` times this raise
        nothing, even where all tiles are nearly equal.
    ratio
        Compare logarithms.
    least
        Values below this count as this.
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
    Alarm("flux", "light", "both", 0.01, ratio=True),
    Alarm("clipped", "clipped_share", "high", 2e-3),
    Alarm("saturated", "saturated_share", "high", 5e-4),
    Alarm("impulses", "impulses", "high", 5e-4),
    Alarm("background", "background_deviation", "high", 0.1, ratio=True, least=2e-3),
    Alarm("seam", "seam", "high", 0.1, ratio=True, least=1e-3),
    Alarm("steps", "steps", "low", 0.2, ratio=True),
)
"""All alarms. The position is the bit in a tile's flag: append new alarms at the end."""


def flags(
    metrics: Mapping[str, Values],
    blank: NDArray[np.bool_] | None = None,
    overlaps: Sequence[bool] = (True, True, True),
) -> Values:
    """Return the flag of each tile: the sum of 2^i over its alarms i.

    Parameters
    ----------
    metrics
        Metrics by name, on the tile grid (t c z y x), NaN where a tile has no value. A metric that is absent raises
        no alarm. ``status`` is required: 1 is a tile that is done.
    blank
        True at tiles of noise alone (t c z y x), which are compared with one another, and all others without them:
        in a mostly empty volume every tile with structure would be an outlier. None: there are none.
    overlaps
        Whether neighbouring tiles overlap along z, y, x.

    Returns
    -------
    flag
        float32 (t c z y x). 0: no alarm. NaN: the tile is not done.
    """
    done = metrics["status"] == 1
    total = np.where(done, 0, np.nan).astype(np.float32)
    values = {**metrics, "gain": _gain(metrics), "light": _light(metrics)}
    kinds = [np.ones(done.shape, bool)] if blank is None else [blank, ~blank]
    for i, alarm in enumerate(ALARMS):
        if alarm.metric in values:
            groups = kinds if alarm.metric != "seam" else _by_methods(kinds, metrics.get("method"), overlaps)
            total[done & _raised(alarm, values[alarm.metric], groups)] += 2**i
    return total


def names_of(flag: float) -> list[str]:
    """Return the names of a tile's alarms."""
    bits = 0 if np.isnan(flag) else int(flag)
    return [alarm.name for i, alarm in enumerate(ALARMS) if bits >> i & 1]


def alarms_per_tile(flag: Values, names: Collection[str]) -> NDArray[np.int64]:
    """Return the number of the named alarms of each tile; same axes as ``flag``."""
    bits = np.nan_to_num(flag).astype(np.int64)
    counted = [bits >> i & 1 for i, alarm in enumerate(ALARMS) if alarm.name in names]
    return np.asarray(np.sum(counted, axis=0), np.int64)


def count_alarms(flag: Values) -> dict[str, int]:
    """Return the number of tiles per alarm, most frequent first; alarms without tiles are left out."""
    bits = np.nan_to_num(flag).astype(np.int64)
    counts = {alarm.name: int((bits >> i & 1).sum()) for i, alarm in enumerate(ALARMS)}
    return dict(sorted(((n, c) for n, c in counts.items() if c), key=lambda item: -item[1]))


def _gain(metrics: Mapping[str, Values]) -> Values:
    """Return the ratio of the held-out loss to the linear solution's; about 1 where training gained nothing."""
    after, wiener = (metrics.get(name, np.float32(np.nan)) for name in ("heldout_after", "heldout_wiener"))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.broadcast_to(after / wiener, metrics["status"].shape), np.float32)


def _light(metrics: Mapping[str, Values]) -> Values:
    """Return the light of each estimate over that of its measurement, above the dark level and without impulses.

    Without these scores (``quality.extended: false``) the ratio of the sums: on a dark plane, hot pixels hold a fifth
    of the sum, and their removal is no error.
    """
    nothing = np.full(metrics["status"].shape, np.nan, np.float32)
    light = metrics.get("light_ratio", nothing)
    return light if np.isfinite(light).any() else metrics.get("flux_ratio", nothing)


def _by_methods(
    kinds: Sequence[NDArray[np.bool_]], method: Values | None, overlaps: Sequence[bool]
) -> list[NDArray[np.bool_]]:
    """Return the kinds of tiles, divided by the methods that meet at their seams: one, or several.

    Networks of two tiles differ far more than total variation of the same two, and a shared network by rounding: a seam
    of one kind is no outlier among those of another. A tile without a method, or without a measurement, has no seam.
    """
    if method is None:
        return list(kinds)
    own = np.nan_to_num(method, nan=-1.0)
    around = (1, 1, *(3 if along else 1 for along in overlaps))
    absent = (own < 0) | (own == RESULTS[UNMEASURED].code)
    highest = scipy.ndimage.maximum_filter(np.where(absent, -np.inf, own), around)
    several = highest > scipy.ndimage.minimum_filter(np.where(absent, np.inf, own), around)
    meeting = [several, *(~several & (own == code) for code in np.unique(own))]
    return [kind & seams for kind in kinds for seams in meeting]


def _raised(alarm: Alarm, values: Values, kinds: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Return True where an alarm is raised, by z-scores within each channel and kind of tile."""
    raised = np.zeros(values.shape, bool)
    for c in range(values.shape[1]):
        for kind in kinds:
            z = _robust_z(np.where(kind[:, c], values[:, c], np.nan), alarm)
            raised[:, c] |= {"high": z, "low": -z, "both": np.abs(z)}[alarm.bad] > _Z
    return raised & _no_neighbour_far_worse(values) if alarm.metric == "seam" else raised


def _robust_z(values: Values, alarm: Alarm) -> NDArray[np.float64]:
    """Return (value - median) / spread; 0 where there is no value, or too few tiles to estimate the median.

    An excess loss that is pure measurement error scatters about 0. Most of its values are clamped to ``least``, and
    the logarithms have next to no spread, so that the value itself has to be an outlier as well. (Where values spread
    by factors it is one: exp(z) - 1 > z.)
    """
    x = np.where(np.isfinite(values), values.astype(np.float64), np.nan)
    if not alarm.ratio:
        return _standard(x, alarm.floor)
    bounded = np.maximum(x, alarm.least)
    z = _standard(np.log(np.where(bounded > 0, bounded, np.nan)), alarm.floor)
    return np.minimum(z, _standard(x, 0.0)) if np.isfinite(alarm.least) else z


def _standard(x: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """Return robust z-scores by median and median absolute deviation, the spread being at least ``floor``."""
    finite = np.isfinite(x)
    if int(finite.sum()) < _FEWEST:
        return np.zeros(x.shape)
    middle = float(np.median(x[finite]))
    spread = max(float(np.median(np.abs(x[finite] - middle))) / _MAD_OF_NORMAL, floor, np.finfo(float).tiny)
    return np.where(finite, (x - middle) / spread, 0.0)


def _no_neighbour_far_worse(values: Values) -> NDArray[np.bool_]:
    """Return True where no neighbour along z, y or x has a far worse value."""
    known = np.nan_to_num(values, nan=-np.inf)
    worst = np.full(values.shape, -np.inf, np.float32)
    for axis in (2, 3, 4):
        ahead = [slice(None)] * 5
        behind = [slice(None)] * 5
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        for here, there in ((ahead, behind), (behind, ahead)):
            worst[tuple(here)] = np.maximum(worst[tuple(here)], known[tuple(there)])
    return np.asarray(known >= _WORSE_NEIGHBOUR * worst)
