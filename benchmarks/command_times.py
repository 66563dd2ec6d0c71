"""How long commands take to start and to answer: seconds of a processor, and of the clock.

python benchmarks/command_times.py      prints the table in docs/overhead.md
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
import zarr

CODE = [sys.executable, "-c"]
SSI = [sys.executable, "-m", "ssi_pipeline"]
WIDEFIELD = "psf={kind: widefield, numerical_aperture: 1.4, wavelength_um: 0.52, refractive_index: 1.515}"
COMMANDS: dict[str, list[str]] = {
    "python (nothing)": [*CODE, "pass"],
    "import ssi_pipeline": [*CODE, "import ssi_pipeline"],
    "ssi --help": [*SSI, "--help"],
    "ssi init": [*SSI, "init", "new.yaml", "--input", "in.zarr"],
    "ssi info": [*SSI, "info", "in.zarr"],
    "ssi plan": [*SSI, "plan", "run.yaml"],
    "ssi plan, a widefield PSF": [*SSI, "plan", "run.yaml", "--set", WIDEFIELD],
    "ssi status": [*SSI, "status", "run.yaml"],
    "ssi verify": [*SSI, "verify", "run.yaml"],
    "ssi report": [*SSI, "report", "run.yaml"],
}


def prepare(folder: Path) -> None:
    """Write a stack of four planes and run it with the Wiener filter."""
    image = np.random.default_rng(0).poisson(100, (4, 96, 96)).astype("uint16")
    zarr.create_array(folder / "in.zarr", data=image, chunks=(1, 96, 96), dimension_names=tuple("zyx"))
    document = {
        "input": {"path": "in.zarr", "voxel_size_um": {"z": 0.3, "y": 0.1, "x": 0.1}},
        "output": {"path": "out.zarr"},
        "psf": {"kind": "gaussian", "fwhm_px": {"y": 2, "x": 2}},
        "solver": "wiener",
        "executor": {"kind": "serial"},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(document))
    subprocess.run([*SSI, "run", "run.yaml", "-q"], cwd=folder, check=True)


def measure(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """Run a command; returns seconds of processors, of all its processes, and of the clock."""
    (folder / "new.yaml").unlink(missing_ok=True)
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return spent, wall


def table(times: int) -> list[str]:
    """Return the lines of a table: the median of the calls, after one that fills caches of the disk."""
    lines = ["| command | CPU (s) | wall, least (s) | wall, median (s) |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for title, command in COMMANDS.items():
            measure(command, folder)
            spent, wall = zip(*(measure(command, folder) for _ in range(times)), strict=True)
            lines.append(
                f"| `{title}` | {statistics.median(spent):.2f} | {min(wall):.2f} | {statistics.median(wall):.2f} |"
            )
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=7, help="calls of each command")
    parser.add_argument("--short", action="store_true", help="one call of each")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("\n".join(table(1 if options.short else options.times)))


if __name__ == "__main__":
    main()
