"""Choose representative tiles: the brightest, dimmest, busiest and emptiest, then those farthest from these."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import CorruptDataError, InputError
from ssi_pipeline.geometry import Box
from ssi_pipeline.tasks import Context
from ssi_pipeline.tasks.reading import read_input

_SAMPLED = 48
"""Tiles whose statistics are computed: a sample, as a volume may have a million."""

_SIDE = 128


@dataclass(frozen=True, slots=True)
class Chosen:
    """Index of a chosen tile, and the reason."""

    index: int
    why: str


def choose_tiles(context: Context, count: int) -> list[Chosen]:
    """Return up to ``count`` tiles that differ in brightness and contrast, from a sample over the volume.

    Raises
    ------
    InputError
        No tile of the sample can be read.
    """
    n = context.plan.n_tiles
    sample = np.unique(np.linspace(0, n - 1, min(n, max(_SAMPLED, count))).round().astype(int))
    seen = [(int(i), level) for i in sample if (level := _statistics(context, int(i))) is not None]
    if not seen:
        raise InputError("no sampled tile is readable and has finite pixels: check input.path and input.roi")
    seen = [(i, level) for i, level in seen if level[1] > 0] or seen  # constant ones are fill more often than not
    statistics = np.array([level for _, level in seen])
    return [Chosen(seen[k][0], why) for k, why in differing(statistics, count)]


def differing(statistics: NDArray[np.float64], count: int) -> list[tuple[int, str]]:
    """Return rows of ``statistics`` (mean, standard deviation) that differ most, by their ranks."""
    ranks = statistics.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable") / max(1, len(statistics) - 1)
    corners = (("bright", 0, 1.0), ("dim", 0, 0.0), ("busy", 1, 1.0), ("empty", 1, 0.0))
    chosen: dict[int, str] = {}
    for why, column, end in corners[:count]:
        for k in np.argsort(np.abs(ranks[:, column] - end), kind="stable"):
            if int(k) not in chosen:
                chosen[int(k)] = why
                break
    while len(chosen) < min(count, len(ranks)):
        distance = np.linalg.norm(ranks[:, None] - ranks[list(chosen)][None], axis=2).min(axis=1)
        distance[list(chosen)] = -1
        chosen[int(distance.argmax())] = "between"
    return list(chosen.items())


def _statistics(context: Context, index: int) -> tuple[float, float] | None:
    """Return mean and standard deviation in the middle of a tile's core; None if unreadable or masked."""
    tile = context.plan.tile(index)
    middle = [(a + b) // 2 for a, b in zip(tile.core.start, tile.core.stop, strict=True)]
    reach = (0, _SIDE // 2, _SIDE // 2)
    start = tuple(m - r for m, r in zip(middle, reach, strict=True))
    stop = tuple(m + r + 1 for m, r in zip(middle, reach, strict=True))
    box = Box(start, stop).intersect(tile.core)
    try:
        raw, masked = read_input(context, tile.t, tile.c, box)
    except CorruptDataError:
        return None
    values = raw.astype(np.float64)
    finite = values[np.isfinite(values) & (True if masked is None else ~masked)]
    return (float(finite.mean()), float(finite.std())) if finite.size else None
