"""Build the example, run the pipeline on it as a user would, and print the comparison."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import zarr
from rich.console import Console
from rich.table import Table

from ssi_pipeline.config import load_config
from ssi_pipeline.demo.compare import Row, best_richardson_lucy, rate
from ssi_pipeline.demo.picture import save_picture
from ssi_pipeline.demo.protocol import LEVELS
from ssi_pipeline.demo.volume import write_input
from ssi_pipeline.report import write_report
from ssi_pipeline.run import run


def demo(folder: Path) -> int:
    """Run the embedded example in ``folder``; returns the exit status, 0 when all tiles were solved."""
    console = Console(highlight=False, soft_wrap=True)
    folder.mkdir(parents=True, exist_ok=True)
    clean, counts = write_input(folder)
    configuration = folder / "run.yaml"
    template = resources.files("ssi_pipeline.demo").joinpath("run.yaml")
    configuration.write_text(template.read_text())
    config = load_config(configuration)
    for path in (config.output.path, config.state_path):
        shutil.rmtree(path, ignore_errors=True)
    console.print(f"input: {folder / 'input.zarr'}, {len(clean)} planes, degraded by the published protocol")
    console.print(f"the same by hand: ssi run {configuration}")
    started = time.perf_counter()
    outcome = run(config)
    seconds = time.perf_counter() - started
    if not outcome.complete:
        return 1
    estimate = np.asarray(zarr.open_array(config.output.path / "0", mode="r")[...], np.float32) / LEVELS
    measured = counts / LEVELS
    psf = np.load(folder / "psf.npy")
    rows = [rate("input", clean, measured), best_richardson_lucy(clean, measured, psf), rate("ours", clean, estimate)]
    _print_table(console, rows)
    picture = folder / "before-after.png"
    save_picture(picture, clean, rows)
    console.print(f"solved in {seconds:.0f} s without having seen the truth; Richardson-Lucy was stopped with its help")
    console.print(f"report: {write_report(config)}\npicture: {picture}")
    return 0


def _print_table(console: Console, rows: Sequence[Row]) -> None:
    table = Table(title="mean over the planes, against the truth")
    for heading in ("", "PSNR (dB)", "SSIM"):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in rows:
        table.add_row(row.name, f"{row.psnr_db:.2f}", f"{row.ssim:.3f}")
    console.print(table)
