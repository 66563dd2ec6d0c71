"""Build the example, run the pipeline on it as a user would, and print the comparison."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from ssi_pipeline.benchmark.protocol import LEVELS
from ssi_pipeline.config import load_config
from ssi_pipeline.demo.compare import Row, best_richardson_lucy, rate
from ssi_pipeline.demo.picture import save_picture
from ssi_pipeline.demo.volume import truth, write_input
from ssi_pipeline.exit_status import ExitStatus
from ssi_pipeline.report import write_report
from ssi_pipeline.run import run
from ssi_pipeline.storage.state.made import note, refuse_foreign

_NAMES = ("input.zarr", "psf.npy", "run.yaml", "output.zarr", "output.zarr.run", "before-after.png")
"""All files that the demo writes to its folder, and removes when it runs again."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Results of the demo: input, Richardson-Lucy and ours against the ground truth (z y x); seconds of the run."""

    truth: NDArray[np.float32]
    rows: tuple[Row, Row, Row]
    seconds: float


def demo(folder: Path, data_only: bool = False) -> int:
    """Run the embedded example in ``folder``, or write its data only; print what came of it, return the exit status."""
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    configuration = prepare_demo(folder)
    console.print(f"input: {folder / 'input.zarr'}, degraded by the published protocol")
    if data_only:
        console.print(f"PSF: {folder / 'psf.npy'}\nthen: ssi info {folder / 'input.zarr'}")
        return ExitStatus.COMPLETE
    console.print(f"command: ssi run {configuration}")
    comparison = solve_demo(folder)
    if isinstance(comparison, ExitStatus):
        return comparison
    _print_table(console, comparison.rows)
    picture = folder / "before-after.png"
    save_picture(picture, comparison.truth, comparison.rows)
    console.print(
        f"solved in {comparison.seconds:.0f} s without ground truth; "
        "the iterations of Richardson-Lucy were selected by the ground truth"
    )
    console.print(
        f"report: {write_report(load_config(configuration), configuration=str(configuration))}\npicture: {picture}"
    )
    return ExitStatus.COMPLETE


def prepare_demo(folder: Path) -> Path:
    """Write input, PSF and configuration, and remove earlier results; return the configuration's path.

    Raises
    ------
    OutputError
        The folder contains files of these names that the demo did not write.
    """
    refuse_foreign(folder, _NAMES)
    note(folder, _NAMES)
    write_input(folder)
    configuration = folder / "run.yaml"
    configuration.write_text(resources.files("ssi_pipeline.demo").joinpath("run.yaml").read_text())
    config = load_config(configuration)
    for path in (config.output.folder, config.state_path):
        shutil.rmtree(path, ignore_errors=True)
    return configuration


def solve_demo(folder: Path) -> Comparison | ExitStatus:
    """Run the pipeline and compare; return the exit status if tiles failed or the user stopped it."""
    configuration = folder / "run.yaml"
    config = load_config(configuration)
    started = time.perf_counter()
    outcome = run(config, name=str(configuration))
    seconds = time.perf_counter() - started
    if not outcome.complete:
        return outcome.exit_status
    clean = truth()
    measured = _planes(Path(str(config.input.path), "0"))
    psf = np.load(folder / "psf.npy")
    rows = (
        rate("input", clean, measured),
        best_richardson_lucy(clean, measured, psf),
        rate("ours", clean, _planes(config.output.folder / "0")),
    )
    return Comparison(clean, rows, seconds)


def _planes(array: Path) -> NDArray[np.float32]:
    """Read an array of counts (z y x) in the units of the ground truth."""
    return np.asarray(zarr.open_array(array, mode="r")[...], np.float32) / np.float32(LEVELS)


def _print_table(console: Console, rows: Sequence[Row]) -> None:
    table = Table(title="mean over planes, against the ground truth")
    for heading in ("", "PSNR (dB)", "SSIM"):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in rows:
        table.add_row(row.name, f"{row.psnr_db:.2f}", f"{row.ssim:.3f}")
    console.print(table)
