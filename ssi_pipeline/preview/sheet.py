"""Contact sheet: one row per tile and variant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from ssi_pipeline.preview.solve import Plane, Solved
from ssi_pipeline.report.drawing import (
    BLUE,
    GREY,
    ORANGE,
    bare,
    drawing_style,
    hatch_missing,
    limits,
    new_figure,
    scale_bar,
)
from ssi_pipeline.report.sections.tiles import spectra

_COLUMNS = 6
_MOST_PIXELS = 512


def save_sheet(path: Path, rows: Sequence[Solved], pixel_um: float | None) -> None:
    """Write a PNG with input, ours, Richardson-Lucy, residual, power spectrum and held-out loss per row.

    Input, ours and Richardson-Lucy of a row share one contrast, the 0.5th to 99.8th percentile of input and ours.
    """
    with drawing_style():
        figure = new_figure(2.5 * _COLUMNS, 2.75 * len(rows))
        grid = figure.subplots(len(rows), _COLUMNS, squeeze=False)
        for axes, row in zip(grid, rows, strict=True):
            _images(list(axes[:4]), row, pixel_um)
            spectra(axes[4], row.before, row.after, pixel_um)
            _curve(axes[5], row)
        grid[0, 4].legend(fontsize=7)
        figure.savefig(path, dpi=110, facecolor="white")


def _images(axes: list[Axes], row: Solved, pixel_um: float | None) -> None:
    window = limits(np.concatenate([row.before.ravel(), row.after.ravel()]), 0.5, 99.8)
    shown = (
        ("input", row.before),
        (f"ours ({row.quality['method']})", row.after),
        (f"Richardson-Lucy, n = {row.iterations}", row.richardson_lucy),
    )
    for panel, (title, values) in zip(axes, shown, strict=False):
        part = _middle(values)
        bare(panel)
        panel.imshow(part, cmap="gray", vmin=window[0], vmax=window[1], interpolation="none")
        panel.set_title(title)
        if pixel_um:
            scale_bar(panel, part.shape, pixel_um)
    axes[0].set_ylabel("\n".join(filter(None, (f"tile {row.chosen.index}, {row.chosen.why}", row.variant))))
    residual = _middle(row.residual)
    low, high = limits(np.abs(residual), 0, 99.5)
    most = max(high, low) or 1.0
    bare(axes[3])
    hatch_missing(axes[3])
    axes[3].imshow(residual, cmap="PuOr", vmin=-most, vmax=most, interpolation="none")
    axes[3].set_title(f"residual (input - blurred ours), ±{most:.3g}")


def _middle(values: Plane) -> Plane:
    cut = tuple(
        slice(max(0, (n - _MOST_PIXELS) // 2), max(0, (n - _MOST_PIXELS) // 2) + _MOST_PIXELS) for n in values.shape
    )
    return values[cut]


def _curve(axes: Axes, row: Solved) -> None:
    axes.set(title="held-out loss", xlabel="step")
    trace, linear = row.quality.get("trace") or [], row.quality.get("heldout_wiener")
    if trace:
        points = np.array([[math.nan if v is None else v for v in point] for point in trace], np.float64)
        kept = row.quality["method"] == "network"
        label = "ours" if kept else "network (not kept)"
        axes.plot(points[:, 0], points[:, 2], color=BLUE if kept else GREY, marker="s", markersize=3, label=label)
    if row.quality["method"] != "network" and row.quality.get("heldout_after") is not None:
        axes.axhline(row.quality["heldout_after"], color=BLUE, label="ours")
    if linear is not None:
        axes.axhline(linear, color=ORANGE, linestyle=":", label="linear")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    else:
        axes.text(0.5, 0.5, "not measured", ha="center", color=GREY, transform=axes.transAxes)
