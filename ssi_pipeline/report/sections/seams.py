"""Seam section: borders of the tiles with the worst seam score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ssi_pipeline.geometry import Box
from ssi_pipeline.report.drawing import BLUE, GREY, ORANGE, bare, hatch_missing, limits, new_figure, picture
from ssi_pipeline.report.facts import RunFacts
from ssi_pipeline.report.section import Section, render
from ssi_pipeline.report.views import View, read_output
from ssi_pipeline.report.words import number, place

_SHOWN = 2
_MOST_READ = 16
"""Most tiles whose borders are read."""

_REACH = 48
"""Pixels shown on each side of a border."""


@dataclass(frozen=True, slots=True)
class Border:
    """Border at one side of a tile. ``strip``: output across it (last axis); ``gradient``: along that axis."""

    tile: int
    side: str
    view: View
    c: int
    strip: NDArray[np.float32]
    gradient: NDArray[np.float64]
    ratio: float


def seams_section(facts: RunFacts) -> Section:
    """Draw the output across a border of the worst tiles, and the mean gradient by distance."""
    scores = facts.metrics["seam"].ravel()
    known = int(np.isfinite(scores).sum())
    order = np.argsort(-np.nan_to_num(scores, nan=-1.0), kind="stable")[: min(_MOST_READ, known)]
    borders: dict[tuple[View, int], Border] = {}  # a border counts in the scores of both its tiles
    for index in order:
        border = worst_border(facts, int(index))
        if border is not None:
            borders.setdefault((border.view, border.c), border)
        if len(borders) == _SHOWN:
            break
    pictures = [_draw(facts, border, float(scores[border.tile])) for border in borders.values()]
    median = number(float(np.nanmedian(scores))) if known else ""
    return Section("seams", "Seams", render("seams", pictures=pictures, known=number(known), median=median))


def worst_border(facts: RunFacts, index: int) -> Border | None:
    """Return the border of a tile with the highest gradient ratio; None if nothing is written there."""
    best: Border | None = None
    for side, view, c, axis in _borders(facts, index):
        values = read_output(facts, view, c)
        if values is None or not np.isfinite(values).all():
            continue
        strip = values[0] if axis == 1 else values[0].T
        gradient = np.abs(np.diff(strip.astype(np.float64), axis=1)).mean(axis=0)
        ratio = border_ratio(gradient)
        if best is None or ratio > best.ratio:
            best = Border(index, side, view, c, strip, gradient, ratio)
    return best


def _draw(facts: RunFacts, border: Border, score: float) -> Markup:
    where = place([int(i) for i in np.unravel_index(border.tile, facts.context.plan.tile_grid)])
    figure = new_figure(10, 2.6)
    left, right = figure.subplots(1, 2)
    figure.suptitle(f"tile {border.tile} ({where}), seam {number(score)}: border at its {border.side}", fontsize=9)
    _strip(left, border.strip)
    _gradient(right, border.gradient, border.ratio)
    return picture(figure, f"Output across a border of tile {border.tile}, and the mean gradient by distance from it")


def border_ratio(gradient: NDArray[np.float64]) -> float:
    """Return the ratio of the gradient at the border to the median elsewhere; 1 is an invisible border."""
    middle = len(gradient) // 2
    inside = float(np.median(np.delete(gradient, middle)))
    return float(gradient[middle]) / inside if inside > 0 else 1.0


def _borders(facts: RunFacts, index: int) -> list[tuple[str, View, int, int]]:
    """Yield name, view, channel and axis (0 y, 1 x) of the borders to neighbours in the tile's middle plane."""
    plan = facts.context.plan
    tile = plan.tile(index)
    z = (tile.core.start[0] + tile.core.stop[0]) // 2
    found = []
    for axis, names in ((0, ("top", "bottom")), (1, ("left", "right"))):
        for name, edge in zip(names, (tile.core.start[axis + 1], tile.core.stop[axis + 1]), strict=True):
            reach = min(_REACH, edge, plan.extent[axis + 1] - edge)
            if reach < 2:
                continue
            start, stop = [z, *tile.core.start[1:]], [z + 1, *tile.core.stop[1:]]
            start[axis + 1], stop[axis + 1] = edge - reach, edge + reach
            other = 2 - axis
            stop[other] = min(stop[other], start[other] + 4 * _REACH)
            found.append((name, View(tile.t, Box(tuple(start), tuple(stop))), tile.c, axis))
    return found


def _strip(axes: Axes, strip: NDArray[np.float32]) -> None:
    bare(axes)
    hatch_missing(axes)
    low, high = limits(strip, 0.5, 99.8)
    reach = strip.shape[1] / 2
    extent = (-reach, reach, strip.shape[0], 0)
    axes.imshow(strip, cmap="gray", vmin=low, vmax=high, interpolation="none", extent=extent)
    for place_y in (0.0, 0.92):  # marks at both ends, as a line would hide the seam
        axes.axvline(0, ymin=place_y, ymax=place_y + 0.08, color=ORANGE, linewidth=2)
    axes.set_title("output; the border lies between the marks")


def _gradient(axes: Axes, gradient: NDArray[np.float64], ratio: float) -> None:
    distance = np.arange(len(gradient)) - len(gradient) // 2
    axes.plot(distance, gradient, color=BLUE)
    axes.axvline(0, color=GREY, linestyle="--", linewidth=1)
    axes.set(title=f"mean gradient; ratio border / inside {ratio:.2f}", xlabel="distance from the border, px")
