"""What it costs to record and to compare what tiles were made from.

    python benchmarks/input_digest.py          256 tiles of 256 x 256 by Wiener, 100,000 chunk files; prints a table
    python benchmarks/input_digest.py --short  4 tiles, 100 files

The digest's share is measured inside the run (time spent in it over the time of the tiles); a comparison is one
`ssi verify --input`; a look at sizes and times is what a start of a run costs where nothing changed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
import zarr

import ssi_pipeline.tasks.reading as reading
from ssi_pipeline.config import load_config
from ssi_pipeline.run import run
from ssi_pipeline.run.checks.verify_input import verify_input
from ssi_pipeline.storage.inputs.input_stamp import input_stamp
from ssi_pipeline.storage.inputs.source import open_source
from ssi_pipeline.storage.inputs.source_protocol import SourceSpec
from ssi_pipeline.storage.state.ledger import read_records

CORE = 256


def make_run(folder: Path, side: int, solver: str) -> Path:
    """Write an image of noise and the configuration of a run over it."""
    image = np.random.default_rng(0).poisson(100, (1, side, side)).astype(np.uint16)
    zarr.create_array(folder / "in.zarr", data=image, chunks=(1, CORE, CORE), dimension_names=("z", "y", "x"))
    document = {
        "input": {"path": "in.zarr"},
        "output": {"path": "out.zarr"},
        "psf": {"kind": "gaussian", "fwhm_px": {"y": 2, "x": 2}},
        "solver": solver,
        "tiling": {"core": CORE},
        "executor": {"kind": "serial", "device": "cpu"},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def timed_run(path: Path) -> tuple[float, float]:
    """Run; returns the seconds of all tiles and calibrations, and those of them spent in digests."""
    spent, plain = 0.0, reading.pixel_digest

    def timed(*values: Any) -> str:
        nonlocal spent
        begun = time.perf_counter()
        found = plain(*values)
        spent += time.perf_counter() - begun
        return found

    reading.pixel_digest = timed
    try:
        config = load_config(path)
        assert run(config).complete
    finally:
        reading.pixel_digest = plain
    done = [r for r in read_records(config.state_path / "ledger.jsonl") if r.source]
    return sum(record.seconds for record in done), spent


def look_seconds(folder: Path, files: int) -> float:
    """Return the seconds of one look at the sizes and times of so many chunk files, in folders of 1000."""
    rows = -(-files // 1000)
    zarr.create_array(folder, shape=(rows, 1000), chunks=(1, 1), dtype="uint16", dimension_names=("y", "x"))
    for row in range(rows):
        (folder / "c" / str(row)).mkdir(parents=True)
        for column in range(min(1000, files - 1000 * row)):
            (folder / "c" / str(row) / str(column)).touch()
    old = time.time() - 100
    for file in (folder / "c").rglob("*"):
        os.utime(file, (old, old))
    source = open_source(SourceSpec(str(folder)))
    begun = time.perf_counter()
    input_stamp(source)
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true")
    short = parser.parse_args().short
    side, files = (2 * CORE, 100) if short else (16 * CORE, 100_000)
    for solver in ("identity", "wiener"):
        with tempfile.TemporaryDirectory() as name:
            path = make_run(Path(name), side, solver)
            seconds, spent = timed_run(path)
            begun = time.perf_counter()
            tiles = verify_input(load_config(path)).compared
            rate = tiles / (time.perf_counter() - begun)
            print(f"{solver}: digests {spent:.3f} s of {seconds:.2f} s = {spent / seconds:.2%}; ", end="")
            print(f"{rate:.0f} tiles/s compared, {seconds / tiles * rate:.1f} times as fast as one worker solves")
    with tempfile.TemporaryDirectory() as name:
        print(f"sizes and times of {files} files: {look_seconds(Path(name, 'many.zarr'), files):.2f} s")


if __name__ == "__main__":
    main()
