"""Quality maps: each metric as a map of tiles with its histogram."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FixedLocator, MaxNLocator
from numpy.typing import NDArray

from ssi_pipeline.report.categories import CATEGORIES, COLORS
from ssi_pipeline.report.drawing import BLUE, bin_count, hatch_missing, limits, new_figure, picture
from ssi_pipeline.report.facts import RunFacts
from ssi_pipeline.report.grids import MOST_CELLS, MapPlane, grid_words, planes
from ssi_pipeline.report.ranking import meaning, shown_metrics
from ssi_pipeline.report.section import Section, render
from ssi_pipeline.report.words import number

_MOST_CHANNELS = 4
_LABELS, _BAR, _BAR_LABELS, _EDGE, _BOTTOM, _TOP = 0.7, 0.12, 0.6, 0.1, 0.5, 0.3
"""Inches: left of maps and histograms, width of the colour bar, right of it, elsewhere, below and above."""

_DECADES = 2.0
"""Dynamic range above which values are shown on a logarithmic scale."""

_MOST_CELLS_IN_ALL = 5_000_000
"""Cells of all maps of the page: about 1.7 bytes each (measured at 10^6 tiles of noise)."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Colour scale and bins of one metric; ``below`` and ``above``: some values lie outside."""

    norm: Normalize
    edges: NDArray[np.float64]
    log: bool
    extend: str


def maps_section(facts: RunFacts) -> Section:
    """Draw each varying metric; list the constant ones with their value."""
    drawn, constant, absent = [], [], []
    shown = shown_metrics(facts)
    grid = facts.context.plan.tile_grid
    most = min(MOST_CELLS, math.isqrt(_MOST_CELLS_IN_ALL // (2 * min(grid[1], _MOST_CHANNELS) * len(shown))))
    for name, values in shown.items():
        finite = values[np.isfinite(values)]
        if not finite.size:
            absent.append(name)
        elif finite.min() == finite.max() and (
            name == "method" or finite.size == values.size or name not in CATEGORIES
        ):
            constant.append((name, _value(name, float(finite[0])), meaning(name)))
        else:
            drawn.append((name, meaning(name), _summary(name, finite), _metric(facts, name, values, most)))
    html = render(
        "maps",
        drawn=drawn,
        constant=constant,
        absent=absent,
        grid=grid_words(grid),
        binned=max(grid[3:] if grid[3] * grid[4] > 1 else (grid[0], grid[2])) > most,
        most=most,
        left=max(0, grid[1] - _MOST_CHANNELS),
    )
    return Section("maps", "Quality maps", html)


def _value(name: str, value: float) -> str:
    return CATEGORIES[name].get(int(value), "unknown") if name in CATEGORIES else number(value)


def _summary(name: str, finite: NDArray[np.float32]) -> str:
    if name in CATEGORIES:
        counts = {text: int((finite == code).sum()) for code, text in CATEGORIES[name].items()}
        return ", ".join(f"{text} {number(count)}" for text, count in counts.items() if count)
    low, middle, high = (float(v) for v in np.percentile(finite.astype(np.float64), [0, 50, 100]))
    return f"smallest {number(low)}, median {number(middle)}, largest {number(high)}; {number(finite.size)} tiles"


def _metric(facts: RunFacts, name: str, values: NDArray[np.float32], most: int) -> Markup:
    """Draw one row per channel: map of the middle plane, map of the worst values, histogram."""
    rows = [(c, planes(name, values[:, c], most)) for c in range(min(values.shape[1], _MOST_CHANNELS))]
    scale = None if name in CATEGORIES else make_scale(values)
    # enough for the colour bar's label, no more than a screen
    height = min(max(4.0 * rows[0][1][0].extent[0] / rows[0][1][0].extent[1], 1.7), 3.2) + 0.5
    figure, frames = _frames(height, len(rows), len(rows[0][1]), bar=scale is not None)
    for (*frame, bar, histogram), (c, parts) in zip(frames, rows, strict=True):
        for axes, part in zip(frame, parts, strict=True):
            image = _map(axes, part, scale)
            axes.set_title(part.title if len(rows) == 1 else f"{facts.channel_name(c)}, {part.title}")
        if scale:  # for categories the histogram shows the colours and the name
            figure.colorbar(image, cax=bar, extend=scale.extend)
        _distribution(histogram, name, values[:, c], scale)
    return picture(figure, f"Map of {name} on the grid of tiles, and its histogram: {meaning(name)}")


def _frames(height: float, rows: int, maps: int, *, bar: bool) -> tuple[Figure, list[list[Any]]]:
    """Return a figure, and for each row its maps, the place of the colour bar (None without one) and the histogram.

    With a colour bar all places are fixed: to find them by the sizes of the labels takes longer than drawing.
    """
    if not bar:  # a histogram whose labels are words
        figure = new_figure(10, height * rows)
        grid = figure.subplots(rows, maps + 1, squeeze=False, width_ratios=[*[1.0] * maps, 0.8])
        return figure, [[*row[:-1], None, row[-1]] for row in grid]
    figure = Figure(figsize=(10, height * rows))
    wide = (10 - maps * _LABELS - _BAR - _BAR_LABELS - _LABELS - _EDGE) / (maps + 0.8)
    lefts = [_LABELS + n * (wide + _LABELS) for n in range(maps)]
    right = lefts[-1] + wide + _EDGE
    last = right + _BAR + _BAR_LABELS + _LABELS
    places = [*((left, wide) for left in lefts), (right, _BAR), (last, 0.8 * wide - _EDGE)]
    found = []
    for row in range(rows):
        low, tall = (rows - 1 - row + _BOTTOM / height) / rows, (1 - (_BOTTOM + _TOP) / height) / rows
        frame = [figure.add_axes((left / 10, low, width / 10, tall)) for left, width in places]
        frame[maps - 1].set_anchor("E")  # beside the colour bar
        found.append(frame)
    return figure, found


def make_scale(values: NDArray[np.float32]) -> Scale:
    """Return limits that ignore outliers, logarithmic if the values span more than two decades."""
    finite = values[np.isfinite(values)]
    low, high = limits(finite, 1, 99)
    log = bool(finite.min() > 0 and np.log10(high / low) > _DECADES)
    below, above = bool(finite.min() < low), bool(finite.max() > high)
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    bins = bin_count(finite.size) + 1
    edges = np.geomspace(low, high, bins) if log else np.linspace(low, high, bins)
    norm = LogNorm(low, high) if log else Normalize(low, high)
    return Scale(norm, edges, log, extend[below, above])


def _map(axes: Axes, part: MapPlane, scale: Scale | None) -> AxesImage:
    hatch_missing(axes)
    norm = scale.norm if scale else BoundaryNorm(np.arange(COLORS.N + 1) - 0.5, COLORS.N)
    cmap = "cividis" if scale else COLORS
    rows, columns = part.extent
    place = (-0.5, part.values.shape[1] * part.cell[1] - 0.5, part.values.shape[0] * part.cell[0] - 0.5, -0.5)
    image = axes.imshow(part.values, cmap=cmap, norm=norm, interpolation="none", extent=place, aspect="auto")
    ratio = max(rows, columns) / min(rows, columns)
    if ratio < 4:
        axes.set_aspect("equal")
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    axes.set(ylabel=f"tile along {part.axes[0]}", xlabel=f"tile along {part.axes[1]}")
    for axis, count in ((axes.xaxis, columns), (axes.yaxis, rows)):
        # for a single tile MaxNLocator would label fractions
        axis.set_major_locator(MaxNLocator(6, integer=True) if count > 4 else FixedLocator(range(count)))
    return image


def _distribution(axes: Axes, name: str, values: NDArray[np.float32], scale: Scale | None) -> None:
    finite = values[np.isfinite(values)]
    if scale is None:
        found = {code: int((finite == code).sum()) for code in CATEGORIES[name]}
        found = {code: count for code, count in found.items() if count}
        colors, counts = [COLORS(code) for code in found], list(found.values())
        names = [CATEGORIES[name][code] for code in found]
        axes.barh(names, counts, height=0.6, color=colors, edgecolor="#000000", linewidth=0.4)
        for i, count in enumerate(counts):
            axes.text(count, i, f" {number(count)}", va="center")
        axes.set(xlabel="tiles", ylim=(-0.6, max(len(found), 3) - 0.4))
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.margins(x=0.35)
        return
    inside = np.clip(finite.astype(np.float64), scale.edges[0], scale.edges[-1])
    axes.stairs(np.histogram(inside, scale.edges)[0], scale.edges, fill=True, color=BLUE)
    axes.set(xlabel=name.replace("_", " "), ylabel="tiles")
    if scale.log:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-3, 5))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
