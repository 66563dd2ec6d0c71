"""Tile section: the worst, median and best tile with a profile and power spectra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ssi_pipeline.geometry import Box
from ssi_pipeline.report.drawing import BLUE, ORANGE, bare, hatch_missing, limits, new_figure, picture, scale_bar
from ssi_pipeline.report.facts import RunFacts
from ssi_pipeline.report.ranking import alarms_of, ranked, worst_median_best
from ssi_pipeline.report.section import Section, render
from ssi_pipeline.report.spectrum import radial_power
from ssi_pipeline.report.views import View, measured, read_input, read_output, read_uncertainty
from ssi_pipeline.report.words import number, place

Plane = NDArray[np.float32]
_MOST_PIXELS = 256


@dataclass(frozen=True, slots=True)
class TileView:
    """Central part of a tile's middle plane, y x: input, output and uncertainty."""

    title: str
    before: Plane
    after: Plane
    uncertainty: Plane | None


def tiles_section(facts: RunFacts) -> Section:
    """Draw one row of panels per tile."""
    by, bad = ranked(facts)
    pictures, troubles = [], []
    for index, name in worst_median_best(bad).items():
        where = place([int(i) for i in np.unravel_index(index, facts.context.plan.tile_grid)])
        alarms = ", ".join(alarms_of(facts, index))
        title = f"{name}: tile {index} ({where}), {number(float(bad[index]))}{f'; alarms: {alarms}' if alarms else ''}"
        view = _look(facts, index, title)
        if view is None:
            troubles.append(f"{title}: input or output are unreadable or not written yet")
        else:
            pictures.append(_draw(facts, view, name))
    html = render("tiles", by=by, pictures=pictures, troubles=troubles, uncertain=facts.context.uncertain)
    return Section("tiles", "Selected tiles", html)


def _look(facts: RunFacts, index: int, title: str) -> TileView | None:
    tile = facts.context.plan.tile(index)
    z = (tile.core.start[0] + tile.core.stop[0]) // 2
    spans = [_middle(a, b) for a, b in zip(tile.core.start[1:], tile.core.stop[1:], strict=True)]
    view = View(tile.t, Box((z, *(a for a, _ in spans)), (z + 1, *(b for _, b in spans))))
    before, after = read_input(facts, view, tile.c), read_output(facts, view, tile.c)
    if before is None or after is None or not np.isfinite(before).any() or not np.isfinite(after).any():
        return None
    seen = measured(facts, view, tile.c, before)
    before, after = (np.where(seen, values, np.float32(np.nan)) for values in (before, after))
    if not seen.any():
        return None
    uncertainty = read_uncertainty(facts, view, tile.c)
    return TileView(title, before[0], after[0], None if uncertainty is None else uncertainty[0])


def _middle(start: int, stop: int) -> tuple[int, int]:
    spare = max(0, stop - start - _MOST_PIXELS)
    return start + spare // 2, stop - (spare - spare // 2)


def _draw(facts: RunFacts, view: TileView, name: str) -> Markup:
    images = [1.0, 1.0] if view.uncertainty is None else [1.0, 1.0, 1.2]
    figure = new_figure(10 if view.uncertainty is None else 12.5, 3.0)
    figure.suptitle(view.title, fontsize=9)
    axes = figure.subplots(1, len(images) + 2, width_ratios=[*images, 1.15, 1.15])
    window = limits(np.concatenate([view.before.ravel(), view.after.ravel()]), 0.5, 99.8)
    row = busiest_row(view.after)
    voxel = facts.context.document.volume.voxel_size_um
    for panel, title, values in ((axes[0], "input", view.before), (axes[1], "output", view.after)):
        bare(panel)
        hatch_missing(panel)
        panel.imshow(values, cmap="gray", vmin=window[0], vmax=window[1], interpolation="none")
        panel.axhline(row, color=ORANGE, linewidth=0.8, linestyle=(0, (6, 6)))
        panel.set_title(title)
        if voxel:
            scale_bar(panel, values.shape, voxel[2])
    if view.uncertainty is not None:
        _uncertainty(axes[2], view.uncertainty)
    profile(axes[-2], view.before[row], view.after[row], None if view.uncertainty is None else view.uncertainty[row])
    spectra(axes[-1], view.before, view.after, voxel[2] if voxel else None)
    return picture(figure, f"The {name} tile: input and output at the same contrast, a profile, and power spectra")


def _uncertainty(axes: Axes, values: Plane) -> None:
    """Draw the uncertainty with its own colour scale."""
    bare(axes)
    hatch_missing(axes)
    low, high = limits(values.ravel(), 0.5, 99.8)
    image = axes.imshow(values, cmap="cividis", vmin=low, vmax=high, interpolation="none")
    axes.set_title("uncertainty")
    axes.figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02)


def busiest_row(values: Plane) -> int:
    """Return the row with the highest variance."""
    filled = np.nan_to_num(values, nan=float(np.nanmean(values)))
    return int(filled.std(axis=1).argmax())


def profile(axes: Axes, before: Plane, after: Plane, uncertainty: Plane | None = None) -> None:
    """Draw one row of both images, and the uncertainty as a band around the output."""
    if uncertainty is not None:
        x = np.arange(len(after))
        axes.fill_between(x, after - uncertainty, after + uncertainty, color=BLUE, alpha=0.25, linewidth=0)
    axes.plot(before, color=ORANGE, linewidth=0.9, linestyle="--", label="input")
    axes.plot(after, color=BLUE, linewidth=1.1, label="output")
    axes.set(title="profile along the dashed line", xlabel="x, px")
    axes.legend(fontsize=7)


def spectra(axes: Axes, before: Plane, after: Plane, pixel_um: float | None) -> None:
    """Draw the radial power of both images over the spatial frequency."""
    unit = f"1/µm (x pixels of {pixel_um:g} µm)" if pixel_um else "1/px"
    for values, color, style, label in ((before, ORANGE, "--", "input"), (after, BLUE, "-", "output")):
        frequency, power = radial_power(values)
        axes.plot(frequency / (pixel_um or 1), power, color=color, linestyle=style, linewidth=1.1, label=label)
    axes.set(title="power spectrum", yscale="log", xlabel=f"frequency, {unit}")
