"""Reduce a metric on the tile grid (t c z y x) to planes of a limited size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.geometry.volume import AXES

MOST_CELLS = 512

Values = NDArray[np.float32]

_IDEAL = {"flux_ratio": 1.0, "chi2": 1.0}
"""Ideal values: the worst value is the farthest from it. For most other metrics the largest is the worst."""

_SMALLEST = ("steps",)
"""Metrics whose worst value is the smallest, as for the alarms."""

_STATUS = (1, 0, 2)
"""Codes of ``status``, the worst last: done, pending, failed."""


@dataclass(frozen=True, slots=True)
class MapPlane:
    """Part of a metric as an image; ``cell``: tiles along one pixel, ``extent``: tiles along rows and columns."""

    title: str
    values: Values
    axes: str
    extent: tuple[int, int]
    cell: tuple[int, int]


def planes(name: str, values: Values, most: int = MOST_CELLS) -> list[MapPlane]:
    """Return the middle plane of one channel of a metric (t z y x), and the worst over all planes.

    Rows and columns are y and x, or t and z if each plane is one tile. ``most``: cells along an axis.
    """
    codes = _by_concern(name, values)
    flat = values.shape[2] * values.shape[3] == 1
    axes, values = ("tz", values[:, :, 0, 0]) if flat else ("yx", values)
    if flat:
        return [_binned("all tiles", name, values, axes, most, codes)]
    t, z = (n // 2 for n in values.shape[:2])
    if values.shape[0] * values.shape[1] == 1:
        return [_binned("all tiles", name, values[0, 0], axes, most, codes)]
    middle = _binned(f"middle plane: t {t}, z {z}", name, values[t, z], axes, most, codes)
    worst = _worst(name, values.reshape(-1, *values.shape[2:]), np.array([0]), 0, codes)[0]
    over = " and ".join(axis for axis, n in zip("tz", values.shape[:2], strict=True) if n > 1)
    return [middle, _binned(f"{worst_word(name)} over all {over}", name, worst, axes, most, codes)]


def worst_word(name: str) -> str:
    """Return the name of the statistic that represents several values, for instance ``largest``."""
    if name in _IDEAL:
        return f"farthest from {_IDEAL[name]:g}"
    words = {"status": "worst", "method": "rarest"}
    return words.get(name, "smallest" if name in _SMALLEST else "largest")


def _binned(title: str, name: str, values: Values, axes: str, most: int, codes: tuple[int, ...]) -> MapPlane:
    extent = (values.shape[0], values.shape[1])
    cell = (-(-extent[0] // most), -(-extent[1] // most))
    for axis in (0, 1):
        if cell[axis] > 1:
            values = _worst(name, values, np.arange(0, extent[axis], cell[axis]), axis, codes)
    return MapPlane(title, values, axes, extent, cell)


def _worst(name: str, values: Values, starts: NDArray[np.int64], axis: int, codes: tuple[int, ...]) -> Values:
    """Return the worst value of each cell, for ``codes`` the last; NaN only if all are NaN."""
    if codes:
        ranks = np.full(values.shape, np.nan, np.float32)
        for rank, code in enumerate(codes):
            ranks[values == code] = rank
        top = np.fmax.reduceat(ranks, starts, axis=axis)
        return np.where(np.isnan(top), top, np.array(codes, np.float32)[np.nan_to_num(top).astype(np.int64)])
    low: Values = np.fmin.reduceat(values, starts, axis=axis)
    if name in _SMALLEST:
        return low
    high: Values = np.fmax.reduceat(values, starts, axis=axis)
    if name not in _IDEAL:
        return high
    return np.where(high - _IDEAL[name] >= _IDEAL[name] - low, high, low)


def _by_concern(name: str, values: Values) -> tuple[int, ...]:
    """Return the codes of a metric, the worst last (for methods the rarest); empty for other metrics."""
    if name != "method":
        return _STATUS if name == "status" else ()
    codes, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    return tuple(int(code) for code in codes[np.argsort(-counts, kind="stable")])


def coarsen(name: str, values: Values, most: int) -> tuple[Values, tuple[int, ...]]:
    """Return a metric (t c z y x) binned to about ``most`` cells by the worst of their tiles, and the bin size.

    Tiles within a plane are binned first, then planes, then time points; never channels.
    """
    codes = _by_concern(name, values)
    cell = [1] * values.ndim
    for axes in ((3, 4), (2,), (0,)):
        while _cells(values.shape, cell) > most and any(cell[a] < values.shape[a] for a in axes):
            for a in axes:
                cell[a] = min(2 * cell[a], values.shape[a])
    for axis, step in enumerate(cell):
        if step > 1:
            values = _worst(name, values, np.arange(0, values.shape[axis], step), axis, codes)
    return values, tuple(cell)


def _cells(shape: tuple[int, ...], cell: list[int]) -> int:
    return math.prod(-(-n // step) for n, step in zip(shape, cell, strict=True))


def badness(name: str, values: Values) -> NDArray[np.float64]:
    """Return a badness per value: larger is worse, NaN where there is no value."""
    exact = values.astype(np.float64)
    if name in _IDEAL:
        return np.abs(exact - _IDEAL[name])
    return -exact if name in _SMALLEST else exact


def grid_words(grid: tuple[int, ...]) -> str:
    """Return for instance ``t 1, c 2, z 1, y 4, x 4``."""
    return ", ".join(f"{axis} {n}" for axis, n in zip(AXES, grid, strict=True))
