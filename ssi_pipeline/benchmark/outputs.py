"""Outputs of the benchmark: rows, tables and figures."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

from ssi_pipeline import __version__
from ssi_pipeline.benchmark.figures import save_figures
from ssi_pipeline.benchmark.rows import METRICS, Row
from ssi_pipeline.benchmark.setup import Benchmark
from ssi_pipeline.benchmark.tables import Sheet, failure_sheet, image_sheet, quality_sheet, seed_sheet, time_sheet
from ssi_pipeline.storage.atomic import write_json, write_text

_FACTS = ("used", "attempts", "steps", "weight", "note")


def write_outputs(benchmark: Benchmark, rows: Sequence[Row]) -> list[Path]:
    """Write rows.json, rows.csv, summary.md and the figures; return their paths."""
    folder = benchmark.options.output
    write_json(folder / "rows.json", [dataclasses.asdict(row) for row in rows])
    write_text(folder / "rows.csv", _csv(rows))
    write_text(folder / "summary.md", summary(benchmark, rows))
    figures = save_figures(benchmark, rows, folder / "figures")
    return [folder / "rows.csv", folder / "rows.json", folder / "summary.md", *figures]


def sheets(benchmark: Benchmark, rows: Sequence[Row]) -> list[Sheet]:
    """Return the tables of the summary; the first two are the paper's."""
    methods = benchmark.methods
    found = [quality_sheet(methods, rows), time_sheet(methods, rows), image_sheet(methods, rows)]
    found.append(failure_sheet(methods, rows))
    if len(benchmark.seeds) > 1 and any(m.random for m in methods):
        found.append(seed_sheet(methods, rows))
    return found


def summary(benchmark: Benchmark, rows: Sequence[Row]) -> str:
    """Return the tables in markdown with their set-up."""
    options = benchmark.options
    source = f"the folder {options.images.name}" if options.images else "scikit-image's wheel"
    lines = [
        "# ssi benchmark",
        "",
        f"ssi_pipeline {__version__}. {len(benchmark.images)} images from {source}"
        + (f", central {options.crop} x {options.crop} pixels" if options.crop else "")
        + f". Seeds {', '.join(map(str, benchmark.seeds))}. PSF {'x'.join(map(str, benchmark.psf.shape))}"
        + (f" from {options.psf.name}" if options.psf else ", Gibson-Lanni")
        + (f". Changed options: {', '.join(options.changes)}" if options.changes else "")
        + ".",
        "",
        "The published table has SSIM with data range 2; range 1 is correct for images in [0, 1].",
        "",
    ]
    errors = [f"- {row.image}, {row.method}, seed {row.seed}: {row.error}" for row in rows if row.error]
    if errors:
        lines += ["### Failed rows", "", *errors, ""]
    return "\n".join(lines) + "\n" + "\n".join(sheet.markdown() for sheet in sheets(benchmark, rows))


def _csv(rows: Sequence[Row]) -> str:
    stream = io.StringIO()
    table = csv.writer(stream)
    table.writerow(["image", "method", "seed", *METRICS, "training_seconds", "inference_seconds", *_FACTS, "error"])
    for row in rows:
        numbers = [row.metrics.get(key, "") for key in METRICS]
        facts = [row.facts.get(key, "") for key in _FACTS]
        seconds = [row.training_seconds, row.inference_seconds]
        table.writerow([row.image, row.method, row.seed, *numbers, *seconds, *facts, row.error])
    return stream.getvalue()
