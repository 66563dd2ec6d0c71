"""A plate of thousands of wells of one tile, run by one process: time and memory as the wells become more.

    python benchmarks/wells.py --folder wells    2,000 wells: about half an hour; Ctrl-C ends it with its table
    python benchmarks/wells.py --short           12 wells: only that it works

The same command in the same folder resumes; the memory that it then prints is that of the new process. Planning, status
and the call that finds all complete are processes of their own, as a user would start them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from ssi_pipeline.config import load_config
from ssi_pipeline.results.snapshot import Snapshot
from ssi_pipeline.run.images.call import ImagesRequest
from ssi_pipeline.run.images.driver import run_images
from ssi_pipeline.run.session import Caller
from tests.plates import write_plate

COLUMNS = 100
MARKS = (1, 10, 100, 250, 500, 1000, 1500, 2000, 4000)
ROW = "| {} | {} | {:.0f} | {:.0f} | {:.0f} |"
HEAD = "| | images | s | s of CPU | MB |\n|---|---|---|---|---|"

COMMAND = """
import sys, time
from ssi_pipeline.cli import main
code = main(sys.argv[1:])
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(time.process_time(), peak)
sys.exit(code)
"""
"""A command that prints its seconds of CPU time and its peak memory (kB), without that of its parent."""


@dataclass
class Meter:
    """Time, CPU time and resident memory of this process as images become complete."""

    rows: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    worked: float = field(default_factory=time.process_time)
    first: int | None = None
    done: int = -1

    def note(self, snapshot: Snapshot) -> None:
        """Take the progress of a run; keeps a row at each mark and for the last image."""
        before, self.done = self.done, snapshot.done
        self.first = snapshot.done if self.first is None else self.first
        if any(before < mark <= snapshot.done for mark in MARKS) or before < snapshot.done == snapshot.total:
            self.keep()

    def keep(self) -> None:
        """Keep a row."""
        seconds, worked = time.perf_counter() - self.started, time.process_time() - self.worked
        self.rows.append(ROW.format("run", self.done, seconds, worked, psutil.Process().memory_info().rss / 1e6))
        print(self.rows[-1], flush=True)


def configure(folder: Path, wells: int) -> Path:
    """Write the plate, unless it is there, and the configuration."""
    file = folder / "run.yaml"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        columns = min(COLUMNS, wells)
        write_plate(folder / "plate.zarr", -(-wells // columns), columns)
        document = {
            "input": {"path": "plate.zarr", "images": "*/*/0"},
            "output": {"path": "out.zarr"},
            "psf": {"kind": "gaussian", "fwhm_px": {"y": 3.0, "x": 3.0}},
            "solver": "wiener",
            "tiling": {"core": 32},
            "executor": {"kind": "serial", "device": "cpu"},
        }
        file.write_text(yaml.safe_dump(document))
    return file


def command(file: Path, images: int, name: str, *more: str) -> str:
    """Return the row of a command in a process of its own."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", COMMAND, name, str(file), *more], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"ssi {name} ended with {done.returncode}: {done.stderr}")
    seconds, (worked, peak_kb) = time.perf_counter() - started, map(float, done.stdout.splitlines()[-1].split())
    return ROW.format(" ".join(("ssi", name, *more)), images, seconds, worked, peak_kb * 1024 / 1e6)


def measure(folder: Path, wells: int) -> list[str]:
    """Plan, run and resume; returns the rows of a table."""
    file = configure(folder, wells)
    rows = [command(file, wells, "plan")]
    meter = Meter()
    outcome = run_images(load_config(file), ImagesRequest(), caller=Caller(verbosity=-1, progress=meter.note))
    if outcome.interrupted:
        meter.keep()
        return [*rows, *meter.rows]
    if not outcome.complete:
        raise SystemExit(f"{outcome.images_complete} of {outcome.images} images are complete")
    return [*rows, *meter.rows, command(file, wells, "status"), command(file, wells, "run", "-q")]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wells", type=int, default=2000, help="a multiple of 100, if more")
    parser.add_argument("--folder", type=Path, help="of the plate and its run, kept; by default one that is removed")
    parser.add_argument("--short", action="store_true", help="few wells: only that it works")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ssi-wells-") as folder:
        rows = measure(options.folder or Path(folder), 12 if options.short else options.wells)
    print("\n".join(("", HEAD, *rows)))


if __name__ == "__main__":
    main()
