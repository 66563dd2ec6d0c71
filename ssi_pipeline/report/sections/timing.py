"""Timing section: time and memory by kind of task."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from ssi_pipeline.report.drawing import BLUE, ORANGE, bin_count, new_figure, picture
from ssi_pipeline.report.facts import KindTotals, RunFacts
from ssi_pipeline.report.section import Section, render
from ssi_pipeline.report.words import number, scaled, seconds

_KINDS = {
    "calibrate": "channel calibration",
    "train": "shared training",
    "solve": "tile solving",
    "stitch": "block stitching",
    "pyramid": "pyramid blocks",
}


def timing_section(facts: RunFacts) -> Section:
    """Tabulate time and memory by kind of task; draw tile times and progress."""
    rows = [
        (
            _KINDS[kind],
            number(total.count),
            seconds(total.seconds) if total.seconds else "part of tile solving",
            seconds(total.seconds / total.count) if total.seconds else "",
            " and ".join(_peaks(total)),
        )
        for kind, total in facts.totals.items()
        if total.count
    ]
    drawn = _figure(facts) if facts.tiles_done > 1 else ""
    return Section("timing", "Timing", render("timing", rows=rows, drawn=drawn))


def _peaks(total: KindTotals) -> Iterator[str]:
    if total.peak_bytes:
        yield scaled(total.peak_bytes, "B")
    if total.device_peak_bytes:
        yield f"{scaled(total.device_peak_bytes, 'B')} of a GPU"


def _figure(facts: RunFacts) -> Markup:
    figure = new_figure(10, 2.9)
    left, right = figure.subplots(1, 2)
    done = facts.metrics["status"].ravel() == 1
    times = facts.metrics["seconds"].ravel()[done]
    left.hist(times, bins=bin_count(times.size), color=BLUE)
    median = float(np.median(times))
    left.axvline(median, color=ORANGE, linestyle="--", linewidth=1.2, label=f"median {median:.3g} s")
    left.set(xlabel="seconds per tile", ylabel="tiles")
    left.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    left.legend()
    finished = np.sort(facts.finished[done & (facts.finished > 0)])
    if finished.size:
        since = finished - (facts.clock.first_started or finished[0])
        unit, size = next(u for u in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
                          if since[-1] >= 3 * u[1] or u[1] == 1.0)  # fmt: skip
        chosen = np.unique(np.linspace(0, len(since) - 1, 500).round().astype(int))
        right.plot(np.append(0, since[chosen] / size), np.append(0, chosen + 1), color=BLUE, drawstyle="steps-post")
        right.set(xlabel=f"{unit} since the start", ylabel="tiles done", ylim=(0, None), xlim=(0, None))
        right.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return picture(figure, "Histogram of the time per tile, and finished tiles over time")
