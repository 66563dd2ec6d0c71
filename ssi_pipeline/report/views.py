"""Planes of input and output at the same position, NaN where data are missing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import CorruptDataError, InputError
from ssi_pipeline.geometry import Box
from ssi_pipeline.report.facts import RunFacts
from ssi_pipeline.storage.outputs.output_store import output_store
from ssi_pipeline.storage.state.ledger import DONE

MOST_PIXELS = 512
_PIECE = 64
"""Side of the parts that are read one by one if the whole plane cannot be read because of a corrupt chunk."""


@dataclass(frozen=True, slots=True)
class View:
    """A plane in one time point of the output; ``box`` (z y x) has length 1 along the axis it cuts."""

    t: int
    box: Box


def choose_view(facts: RunFacts) -> View:
    """Return a y x plane around the middle or, if that is not written yet, around the nearest written block."""
    plan = facts.context.plan
    t, z, y, x = plan.shape[0] // 2, *(n // 2 for n in plan.extent)
    written = facts.state.status["stitch"].reshape(plan.block_grid) == DONE
    home = (t, *(p // s for p, s in zip((z, y, x), plan.shard, strict=True)))
    any_channel = written.any(axis=1)  # t z y x
    if any_channel.any() and not any_channel[home]:
        offsets = (np.abs(np.arange(n) - h) for n, h in zip(any_channel.shape, home, strict=True))
        distance = sum(grid.astype(np.float64) for grid in np.meshgrid(*offsets, indexing="ij", sparse=True))
        nearest = np.unravel_index(np.argmin(np.where(any_channel, distance, np.inf)), any_channel.shape)
        t = int(nearest[0])
        z, y, x = (
            min(int(i) * s + s // 2, n - 1) for i, s, n in zip(nearest[1:], plan.shard, plan.extent, strict=True)
        )
    spans = [_span(p, n) for p, n in zip((y, x), plan.extent[1:], strict=True)]
    return View(t, Box((z, *(a for a, _ in spans)), (z + 1, *(b for _, b in spans))))


def cut_xz(facts: RunFacts, view: View) -> View:
    """Return the z x plane through the middle of a y x plane."""
    box, depth = view.box, facts.context.plan.extent[0]
    y = (box.start[1] + box.stop[1]) // 2
    z0, z1 = _span(box.start[0], depth)
    return View(view.t, Box((z0, y, box.start[2]), (z1, y + 1, box.stop[2])))


def _span(middle: int, length: int) -> tuple[int, int]:
    start = max(0, min(middle - MOST_PIXELS // 2, length - MOST_PIXELS))
    return start, min(length, start + MOST_PIXELS)


def read_input(facts: RunFacts, view: View, c: int) -> NDArray[np.float32] | None:
    """Return the input on a view (z y x), NaN where not finite or unreadable; None without input."""
    context = facts.context
    origin = context.origin

    def read(box: Box) -> NDArray[Any]:
        """Return the input (z y x) in a box of output voxels."""
        return context.source.read(view.t + origin[0], c + origin[1], box.shift(origin[2:]))

    try:
        return _read(read, view.box)
    except (InputError, ValueError):
        return None  # moved or replaced


def measured(facts: RunFacts, view: View, c: int, before: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where the input on a view (z y x) is neither masked nor has the value of the channel's fill."""
    context = facts.context
    fill = facts.calibration[c].get("fill") or {} if c < len(facts.calibration) else {}
    seen = np.ones(before.shape, bool) if fill.get("value") is None else before != np.float32(fill["value"])
    try:
        if context.mask is not None:
            t0, c0, *offset = context.origin
            seen &= ~context.mask.masked(view.t + t0, c + c0, view.box.shift(tuple(offset)))
    except (InputError, CorruptDataError, ValueError):
        pass  # moved or replaced
    return seen


def read_output(facts: RunFacts, view: View, c: int) -> NDArray[np.float32] | None:
    """Return the output on a view (z y x), NaN where not written or unreadable; None without output."""
    return _read_written(facts, view, c, 0)


def read_uncertainty(facts: RunFacts, view: View, c: int) -> NDArray[np.float32] | None:
    """Return the uncertainty, as ``read_output``; None also if the run estimates none."""
    return _read_written(facts, view, c, 1) if facts.context.uncertain else None


def _read_written(facts: RunFacts, view: View, c: int, image: int) -> NDArray[np.float32] | None:
    context, plan = facts.context, facts.context.plan
    sink = context.open_sinks(writable=False)[image]
    if not output_store(sink.path).exists():
        return None
    values = _read(partial(sink.read, 0, view.t, c), view.box)
    written = facts.state.status["stitch"].reshape(plan.block_grid)[view.t, c] == DONE
    blocks = (np.arange(a, b) // s for a, b, s in zip(view.box.start, view.box.stop, plan.shard, strict=True))
    values[~written[np.ix_(*blocks)]] = np.nan
    return values


def _read(read: Callable[[Box], NDArray[Any]], box: Box) -> NDArray[np.float32]:
    try:
        values = _finite(read(box))
    except CorruptDataError:
        values = np.full(box.shape, np.nan, np.float32)
        for part in _pieces(box):
            try:
                values[part.relative_to(box.start).slices] = _finite(read(part))
            except CorruptDataError:
                continue  # stays NaN
    return values


def _finite(raw: NDArray[Any]) -> NDArray[np.float32]:
    values: NDArray[np.float32] = np.clip(raw.astype(np.float64), -3e38, 3e38).astype(np.float32)
    values[~np.isfinite(raw)] = np.nan
    return values


def _pieces(box: Box) -> list[Box]:
    starts = itertools.product(*(range(a - a % _PIECE, b, _PIECE) for a, b in zip(box.start, box.stop, strict=True)))
    return [Box(start, tuple(a + _PIECE for a in start)).intersect(box) for start in starts]
