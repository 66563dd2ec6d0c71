"""Input and output section: same position, same contrast."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ssi_pipeline.report.drawing import BLUE, ORANGE, bare, hatch_missing, limits, new_figure, picture, scale_bar
from ssi_pipeline.report.facts import RunFacts
from ssi_pipeline.report.section import Section, render
from ssi_pipeline.report.views import View, choose_view, cut_xz, measured, read_input, read_output

Plane = NDArray[np.float32]

_MOST_CHANNELS = 4
_DETAIL = 128
_LOW, _HIGH = 0.5, 99.8
"""Percentiles of input and output together that map to black and white."""


def pictures_section(facts: RunFacts) -> Section:
    """Draw input and output side by side, a detail and, in 3D, a z x section; one row per channel."""
    view, channels = choose_view(facts), facts.context.plan.shape[1]
    rows = [_channel(facts, view, c) for c in range(min(channels, _MOST_CHANNELS))]
    html = render("pictures", rows=rows, left=channels - len(rows), crop=_crop_note(facts, view), low=_LOW, high=_HIGH)
    return Section("pictures", "Input and output", html)


def _crop_note(facts: RunFacts, view: View) -> str:
    start, stop = view.box.start, view.box.stop
    whole = view.box.shape[1:] == facts.context.plan.extent[1:]
    part = "the whole plane" if whole else f"y {start[1]} to {stop[1] - 1}, x {start[2]} to {stop[2] - 1}"
    return f"t {view.t}, z {start[0]}, {part}"


def _channel(facts: RunFacts, view: View, c: int) -> tuple[str, list[Markup], str]:
    """Return the channel's name, its figures, and an error message or ''."""
    before, after = read_input(facts, view, c), read_output(facts, view, c)
    lacking = [name for name, v in (("input", before), ("output", after)) if v is None]
    trouble = f"the {' and the '.join(lacking)} cannot be read" if lacking else ""
    if before is None and after is None:
        return facts.channel_name(c), [], trouble
    pair = [None if v is None else v[0] for v in (before, after)]
    clean = pair if before is None else [_only(v, measured(facts, view, c, before)[0]) for v in pair]
    window = limits(np.concatenate([v.ravel() for v in clean if v is not None]), _LOW, _HIGH)
    pictures = [_planes(facts, pair, clean, window, c)]
    if facts.context.plan.extent[0] > 3 and facts.context.plan.dimensions == 3:
        section = cut_xz(facts, view)
        cuts = [None if v is None else v[:, 0] for v in (read_input(facts, section, c), read_output(facts, section, c))]
        pictures.append(_sections(facts, cuts, window, c, section.box.start[1]))
    return facts.channel_name(c), pictures, trouble


def _only(values: Plane | None, seen: NDArray[np.bool_]) -> Plane | None:
    """Return the measured pixels, NaN elsewhere; contrast and detail are those of the image, not of its fill."""
    return None if values is None else np.where(seen, values, np.float32(np.nan))


def _planes(
    facts: RunFacts, pair: list[Plane | None], clean: list[Plane | None], window: tuple[float, float], c: int
) -> Markup:
    named = _readable(pair)
    shape = named[0][1].shape
    there = [v for v in reversed(clean) if v is not None and _mostly_there(v)]
    corner = detail_corner(there[0]) if there else (0, 0)
    side = tuple(min(_DETAIL, n) for n in shape)
    zoomed = max(shape) > _DETAIL
    width = 5.0
    height = min(width * shape[0] / shape[1], 1.6 * width) + (width * side[0] / side[1] if zoomed else 0) + 0.6
    figure = new_figure(len(named) * width, height)
    ratios = [shape[0] / shape[1], side[0] / side[1]][: 2 if zoomed else 1]
    axes = figure.subplots(len(ratios), len(named), squeeze=False, height_ratios=ratios)
    voxel = facts.context.document.volume.voxel_size_um
    for column, (name, values) in enumerate(named):
        _show(axes[0, column], values, window, voxel[1:] if voxel else None)
        axes[0, column].set_title(f"{name}, {facts.channel_name(c)}")
        if zoomed:
            _frame(axes[0, column], corner, side)
            part = tuple(slice(a, a + n) for a, n in zip(corner, side, strict=True))
            _show(axes[1, column], values[part], window, voxel[1:] if voxel else None)
            axes[1, column].set_title(f"{name}, detail of {side[0]} × {side[1]} px")
    words = " and ".join(name for name, _ in named).capitalize()
    return picture(figure, f"{words} of {facts.channel_name(c)}, the same plane at the same contrast")


def _readable(pair: list[Plane | None]) -> list[tuple[str, Plane]]:
    """Return the readable planes with their names; the page reports the others above the figure."""
    return [(name, v) for name, v in zip(("input", "output"), pair, strict=True) if v is not None]


def _mostly_there(values: Plane) -> bool:
    return bool(np.isfinite(values).mean() > 0.2)


def _sections(facts: RunFacts, pair: list[Plane | None], window: tuple[float, float], c: int, y: int) -> Markup:
    voxel = facts.context.document.volume.voxel_size_um
    named = _readable(pair)
    shape = named[0][1].shape
    aspect = voxel[0] / voxel[2] if voxel else 1.0
    figure = new_figure(5.0 * len(named), min(5.0 * aspect * shape[0] / shape[1], 8.0) + 0.5)
    panels = figure.subplots(1, len(named), squeeze=False)[0]
    for axes, (name, values) in zip(panels, named, strict=True):
        _show(axes, values, window, (voxel[0], voxel[2]) if voxel else None)
        axes.set_title(f"{name}, z x section at y {y}")
    words = " and ".join(name for name, _ in named).capitalize()
    return picture(figure, f"{words} of {facts.channel_name(c)}, a section along z and x")


def _show(axes: Axes, values: Plane, window: tuple[float, float], pixel_um: tuple[float, ...] | None) -> None:
    bare(axes)
    hatch_missing(axes)
    aspect = pixel_um[0] / pixel_um[1] if pixel_um else 1.0
    axes.imshow(values, cmap="gray", vmin=window[0], vmax=window[1], interpolation="none", aspect=aspect)
    if pixel_um:
        scale_bar(axes, values.shape, pixel_um[1])


def _frame(axes: Axes, corner: tuple[int, ...], side: tuple[int, ...]) -> None:
    for color, style in ((BLUE, "-"), (ORANGE, (0, (4, 4)))):  # two colours: visible on dark and bright images
        place = (corner[1] - 0.5, corner[0] - 0.5)
        axes.add_patch(Rectangle(place, side[1], side[0], fill=False, edgecolor=color, linestyle=style, linewidth=1.2))


def detail_corner(values: Plane) -> tuple[int, int]:
    """Return the first pixel (y, x) of the window of up to 128 pixels with the greatest variance."""
    best, corner = -1.0, (0, 0)
    steps = [range(0, max(n - _DETAIL, 0) + 1, _DETAIL // 4) for n in values.shape]
    for y in steps[0]:
        for x in steps[1]:
            part = values[y : y + _DETAIL, x : x + _DETAIL]
            seen = part[np.isfinite(part)].astype(np.float64)
            variance = float(seen.var()) if seen.size > part.size // 2 else -1.0
            if variance > best:
                best, corner = variance, (y, x)
    return corner
