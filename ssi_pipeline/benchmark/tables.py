"""Tables of the benchmark: the paper's two, and their details."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from ssi_pipeline.benchmark.methods import REFERENCES, Method
from ssi_pipeline.benchmark.rows import METRICS, Row

_HEADINGS = {
    "psnr": "PSNR (dB)",
    "ssim_range2": "SSIM, range 2",
    "ssim_range1": "SSIM, range 1",
    "mi": "MI",
    "smi": "SMI",
}
_DIGITS = {"psnr": 2, "ssim_range2": 3, "ssim_range1": 3, "mi": 3, "smi": 3}


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table of text; ``best``: (line, column) of the cells to print bold."""

    title: str
    headings: list[str]
    lines: list[list[str]]
    best: frozenset[tuple[int, int]] = frozenset()

    def markdown(self) -> str:
        """Return the table in markdown."""
        marked = [
            [f"**{cell}**" if (i, j) in self.best else cell for j, cell in enumerate(line)]
            for i, line in enumerate(self.lines)
        ]
        rows = [self.headings, ["---", *("---:" for _ in self.headings[1:])], *marked]
        return f"### {self.title}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"

    def rich(self) -> Table:
        """Return the table for the terminal."""
        table = Table(title=self.title)
        for j, heading in enumerate(self.headings):
            # in a narrow terminal headings and names may wrap, numbers must not
            width = max((len(line[j]) for line in self.lines), default=0) if j else None
            broken = heading.replace(", ", ",\n").replace(" (", "\n(") if j else heading
            table.add_column(broken, justify="right" if j else "left", min_width=width)
        for i, line in enumerate(self.lines):
            cells = (f"[bold]{cell}[/bold]" if (i, j) in self.best else cell for j, cell in enumerate(line))
            table.add_row(*cells)
        return table


def quality_sheet(methods: Sequence[Method], rows: Sequence[Row]) -> Sheet:
    """Return metrics averaged over seeds, then over images.

    The best restoration of each column is bold, among methods with results for all images: means over different
    images are not comparable.
    """
    values = [[mean_over_images(rows, m.name, metric) for metric in METRICS] for m in methods]
    images = {row.image for row in rows}
    contenders = [i for i, m in enumerate(methods) if m.name not in REFERENCES and _images(rows, m.name) == images]
    best = set()
    for j, metric in enumerate(METRICS):
        shown = {i: round(values[i][j], _DIGITS[metric]) for i in contenders if math.isfinite(values[i][j])}
        best |= {(i, j + 1) for i, value in shown.items() if value == max(shown.values())}
    lines = [
        [m.title, *(number(v, _DIGITS[k]) for v, k in zip(line, METRICS, strict=True)), str(len(_images(rows, m.name)))]
        for m, line in zip(methods, values, strict=True)
    ]
    headings = ["method", *_HEADINGS.values(), "images"]
    return Sheet("Quality, mean over images", headings, lines, frozenset(best))


def time_sheet(methods: Sequence[Method], rows: Sequence[Row]) -> Sheet:
    """Return mean seconds of training and of inference; selecting a weight from the data counts as training."""
    lines = []
    for m in methods:
        own = [r for r in good(rows) if r.method == m.name]
        if m.name not in REFERENCES:
            training = number(_mean(r.training_seconds for r in own), 1)
            lines.append([m.title, training, number(_mean(r.inference_seconds for r in own), 2)])
    return Sheet("Seconds, mean over images", ["method", "training", "inference"], lines)


def image_sheet(methods: Sequence[Method], rows: Sequence[Row], metric: str = "psnr") -> Sheet:
    """Return one metric per image, averaged over seeds; the best restoration of each image is bold."""
    images = list(dict.fromkeys(row.image for row in rows))
    lines, best = [], set()
    for i, image in enumerate(images):
        values = [
            _mean(r.metrics[metric] for r in good(rows) if (r.image, r.method) == (image, m.name)) for m in methods
        ]
        lines.append([image, *(number(v, _DIGITS[metric]) for v in values)])
        shown = {
            j: round(v, _DIGITS[metric])
            for j, (v, m) in enumerate(zip(values, methods, strict=True))
            if math.isfinite(v) and m.name not in REFERENCES
        }
        best |= {(i, j + 1) for j, v in shown.items() if v == max(shown.values())}
    return Sheet(f"{_HEADINGS[metric]} of each image", ["image", *(m.title for m in methods)], lines, frozenset(best))


def seed_sheet(methods: Sequence[Method], rows: Sequence[Row]) -> Sheet:
    """Return the spread over seeds of the random methods."""
    headings = ["method, metric", "seeds", "mean", "sd", "min", "max", "largest range on one image"]
    lines = []
    for m in (m for m in methods if m.random):
        own = [r for r in good(rows) if r.method == m.name]
        seeds = sorted({r.seed for r in own})
        for metric in METRICS:
            means = [_mean(r.metrics[metric] for r in own if r.seed == seed) for seed in seeds]
            by_image = [[r.metrics[metric] for r in own if r.image == image] for image in {r.image for r in own}]
            widest = max((max(v) - min(v) for v in by_image if len(v) > 1), default=math.nan)
            sd = float(np.std(means, ddof=1)) if len(means) > 1 else math.nan
            ends = (min(means), max(means)) if means else (math.nan, math.nan)
            cells = [number(v, _DIGITS[metric] + 1) for v in (_mean(means), sd, *ends, widest)]
            lines.append([f"{m.title}, {_HEADINGS[metric]}", str(len(seeds)), *cells])
    return Sheet("Spread over seeds of the means over images", headings, lines)


def failure_sheet(methods: Sequence[Method], rows: Sequence[Row]) -> Sheet:
    """Return failures: errors, repeated trainings, fallbacks, results below the input."""
    noisy = {r.image: r.metrics["psnr"] for r in good(rows) if r.method == "input"}
    headings = [
        "method",
        "rows",
        "errors",
        "repeated trainings",
        "fallbacks to another solver",
        "PSNR below the input",
    ]
    lines = []
    for m in (m for m in methods if m.name not in REFERENCES):
        own = [r for r in rows if r.method == m.name]
        fine = good(own)
        repeated = sum(max(0, r.facts.get("attempts", 0) - 1) for r in fine)
        fallen = sum(bool(r.facts.get("note")) for r in fine)
        below = sum(r.metrics["psnr"] < noisy.get(r.image, -math.inf) for r in fine)
        lines.append([m.title, *map(str, (len(own), len(own) - len(fine), repeated, fallen, below))])
    return Sheet("Failures", headings, lines)


def mean_over_images(rows: Sequence[Row], method: str, metric: str) -> float:
    """Return the mean over images of the means over seeds; NaN without rows."""
    by_image: dict[str, list[float]] = {}
    for row in good(rows):
        if row.method == method:
            by_image.setdefault(row.image, []).append(row.metrics[metric])
    return _mean(_mean(values) for values in by_image.values())


def good(rows: Iterable[Row]) -> list[Row]:
    """Return the rows without error."""
    return [row for row in rows if not row.error]


def number(value: float, digits: int) -> str:
    """Return a number as text, a dash for NaN."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _images(rows: Sequence[Row], method: str) -> set[str]:
    return {row.image for row in good(rows) if row.method == method}


def _mean(values: Iterable[float]) -> float:
    kept = list(values)
    return sum(kept) / len(kept) if kept else math.nan
