"""Held-out loss section: prediction error on pixels excluded from training."""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from ssi_pipeline.report.drawing import BLUE, GREY, ORANGE, bin_count, new_figure, picture
from ssi_pipeline.report.facts import RunFacts
from ssi_pipeline.report.section import Section, render
from ssi_pipeline.report.words import number, place, share
from ssi_pipeline.storage.state.records import TaskRecord

Losses = NDArray[np.float64]

_MOST_POINTS = 1500
"""From this number of tiles on, the scatter plot becomes a density map."""


def heldout_section(facts: RunFacts) -> Section:
    """Compare the held-out loss before and after training and of the linear solution; draw training curves."""
    before, after, wiener = (
        facts.metrics[f"heldout_{name}"].ravel().astype(np.float64) for name in ("before", "after", "wiener")
    )
    known = np.isfinite(after) & np.isfinite(wiener) & (after > 0) & (wiener > 0)
    differs = bool(known.any() and (after[known] != wiener[known]).any())
    pictures, text = [], ""
    if differs:
        pictures.append(_comparison(before, after, wiener, known))
        text = _verdict(after[known], wiener[known])
    elif known.any():
        pictures.append(_distribution(after[known]))
        text = "All tiles use the linear solution, so there is no comparison."
    curves = _chosen_tiles(facts, after, wiener)
    html = render(
        "heldout",
        text=text,
        measured=int(known.sum()),
        pictures=pictures,
        curves=_curves(facts, curves) if curves else "",
    )
    return Section("heldout", "Held-out loss", html)


def _verdict(after: Losses, wiener: Losses) -> str:
    ratio = after / wiener
    better, equal = int((ratio < 1).sum()), int((ratio == 1).sum())
    return (
        f"The estimate predicts held-out pixels better than the linear solution in {number(better)} of "
        f"{number(len(ratio))} tiles ({share(better, len(ratio))}), equally well in {number(equal)}; the median ratio "
        f"of the two losses is {float(np.median(ratio)):.4g}. Both losses include the noise of the held-out pixels, "
        "so even a clear gain changes this ratio only slightly."
    )


def _comparison(before: Losses, after: Losses, wiener: Losses, known: NDArray[np.bool_]) -> Markup:
    """Draw the loss against that of the linear solution and that before training, and the ratio."""
    trained = known & np.isfinite(before) & (before > 0) & (before != after)
    figure = new_figure(10, 3.6) if trained.any() else new_figure(7, 3.6)
    first, *others, last = figure.subplots(1, 3 if trained.any() else 2)
    _against(figure, first, wiener[known], after[known])
    first.set(xlabel="linear (Wiener) solution", ylabel="kept estimate", title="against the linear solution")
    for axes in others:
        _against(figure, axes, before[trained], after[trained])
        axes.set(xlabel="before training", ylabel="kept estimate", title="against the loss before training")
    _ratios(last, after[known] / wiener[known])
    last.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    against = "the linear solution and the loss before training" if others else "the linear solution"
    return picture(figure, f"Held-out loss of the estimate of every tile against {against}")


def _against(figure: Figure, axes: Axes, x: Losses, y: Losses) -> None:
    """Draw y against x; below the diagonal y is better."""
    if not x.size:
        return
    low, high = min(x.min(), y.min()) / 1.1, max(x.max(), y.max()) * 1.1
    scale = "log" if high > 10 * low else "linear"  # within a decade a logarithmic axis has too few tick labels
    axes.set(xscale=scale, yscale=scale, xlim=(low, high), ylim=(low, high), aspect="equal")
    if scale == "linear":
        axes.locator_params(nbins=4)
        axes.ticklabel_format(style="sci", scilimits=(-2, 4))
    else:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 3.0) if high < 100 * low else (1.0,), numticks=6))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())
    if len(x) > _MOST_POINTS:
        edges = np.geomspace(low, high, 81)
        counts, _, _ = np.histogram2d(x, y, bins=(edges, edges))
        shown = np.where(counts > 0, counts, np.nan).T
        norm = LogNorm(1, max(float(counts.max()), 2.0))
        mesh = axes.pcolormesh(edges, edges, shown, norm=norm, cmap="cividis", rasterized=True)
        figure.colorbar(mesh, ax=axes, label="tiles", shrink=0.7)
    else:
        axes.scatter(x, y, s=14, color=BLUE, alpha=0.7, linewidths=0)
    axes.plot([low, high], [low, high], color=GREY, linestyle="--", linewidth=1)
    axes.text(0.97, 0.03, "better", ha="right", va="bottom", transform=axes.transAxes, style="italic")


def _ratios(axes: Axes, ratio: Losses) -> None:
    low, high = (float(v) for v in np.percentile(ratio, [0.5, 99.5]))
    low, high = min(low, 0.998), max(high, 1.002)
    axes.hist(np.clip(ratio, low, high), bins=list(np.linspace(low, high, bin_count(ratio.size) + 1)), color=BLUE)
    axes.axvline(1, color=GREY, linestyle="--", linewidth=1)
    axes.set_box_aspect(1)  # as the other panels
    axes.locator_params(axis="x", nbins=4)
    axes.set(xlabel="loss ratio, kept / linear", ylabel="tiles", title="loss ratio (below 1 is better)")


def _distribution(values: Losses) -> Markup:
    figure = new_figure(6, 2.6)
    axes = figure.subplots()
    low, high = float(values.min()), float(values.max())
    edges = np.geomspace(low, high, 41) if high > low else np.array([low * 0.9, low * 1.1])
    axes.hist(values, bins=list(edges), color=BLUE)
    axes.set(xscale="log" if edges[-1] > 10 * edges[0] else "linear", xlabel="held-out loss", ylabel="tiles")
    return picture(figure, "Histogram of the held-out loss of all tiles")


def _chosen_tiles(facts: RunFacts, after: Losses, wiener: Losses) -> list[tuple[str, TaskRecord]]:
    """Return the records of the trained tiles with the worst, the median and the best loss ratio."""
    steps = facts.metrics["steps"].ravel()
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = after / wiener
    (trained,) = np.nonzero((steps > 0) & np.isfinite(gain))
    if not trained.size:
        return []
    order = trained[np.argsort(gain[trained], kind="stable")]
    chosen = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    lines = facts.lines["solve"]
    records = {r.index: r for r in facts.records_at({int(lines[i]) for i in chosen.values()})}
    unique = {int(index): name for name, index in chosen.items()}
    return [(name, records[index]) for index, name in unique.items() if records[index].quality.get("trace")]


def _curves(facts: RunFacts, chosen: list[tuple[str, TaskRecord]]) -> Markup:
    figure = new_figure(10 if len(chosen) > 1 else 5, 3.4)
    grid = facts.context.plan.tile_grid
    for axes, (name, record) in zip(figure.subplots(1, len(chosen), squeeze=False)[0], chosen, strict=True):
        step, training, heldout = np.array(
            [[math.nan if v is None else v for v in point] for point in record.quality["trace"]], np.float64
        ).T
        axes.plot(step, training, color=ORANGE, linestyle="--", marker="o", markersize=3, label="training")
        axes.plot(step, heldout, color=BLUE, marker="s", markersize=3, label="held-out loss")
        axes.axhline(
            record.quality["heldout_wiener"],
            color=GREY,
            linestyle=":",
            linewidth=1.5,
            label="held-out loss, linear solution",
        )
        where = place([int(i) for i in np.unravel_index(record.index, grid)])
        kept = str(record.quality.get("method", "network"))
        other = "" if kept == "network" else f"; {kept} kept"
        axes.set(title=f"{name}: tile {record.index}{other}\n({where})", xlabel="step")
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    figure.axes[0].set_ylabel("loss")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.draw_without_rendering()  # the layout needs two passes, or labels may be cut off
    return picture(figure, "Training curves of the tiles with the best, the median and the worst loss ratio")
