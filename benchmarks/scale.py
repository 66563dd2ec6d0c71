"""Many tiles of a trivial solver through the dask executor: does memory stay flat, what does a tile cost?

The client and the scheduler live in this process (a local cluster), so its resident memory is theirs.
Overhead a tile is (wall time x workers - time inside tasks) / tiles, for the stage of tiles and blocks alone.

    python benchmarks/scale.py --tiles 100000 --output docs/scale.md
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import zarr

from ssi_pipeline.config import parse_config
from ssi_pipeline.run import run
from ssi_pipeline.storage.ledger import read_records, read_state
from ssi_pipeline.storage.state import StatePaths

SIDE = 64


def build(folder: Path, tiles: int, blend: int, workers: int) -> dict:
    source = zarr.create_array(
        folder / "input.zarr",
        shape=(tiles, SIDE, SIDE),
        chunks=(256, SIDE, SIDE),
        dtype="uint8",
        dimension_names=["z", "y", "x"],
    )
    plane = np.random.default_rng(0).integers(0, 255, (256, SIDE, SIDE), dtype="uint8")
    for start in range(0, tiles, 256):
        source[start : start + 256] = plane[: min(256, tiles - start)]
    return {
        "input": {"path": str(folder / "input.zarr")},
        "output": {"path": str(folder / "output.zarr"), "pyramid": False},
        "psf": {"kind": "identity"},
        "solver": "identity",
        "tiling": {"dimensions": 2, "core": SIDE, "blend": blend},
        "executor": {"kind": "dask", "workers": workers},
    }


class MemoryLog(threading.Thread):
    """Samples this process's resident memory, with the ledger's size as the clock of progress."""

    def __init__(self, ledger: Path) -> None:
        super().__init__(daemon=True)
        self.ledger, self.samples, self.done = ledger, [], threading.Event()

    def run(self) -> None:
        process = psutil.Process()
        while not self.done.wait(0.5):
            size = self.ledger.stat().st_size if self.ledger.exists() else 0
            self.samples.append((time.time(), size, process.memory_info().rss))


def measure(tiles: int, workers: int, blend: int) -> dict:
    with tempfile.TemporaryDirectory(prefix="ssi-scale-") as name:
        folder = Path(name)
        config = parse_config(build(folder, tiles, blend, workers))
        paths = StatePaths(config.state_path)
        log = MemoryLog(paths.ledger)
        log.start()
        outcome = run(config)
        log.done.set()
        records = [r for r in read_records(paths.ledger) if r.kind == "solve"]
        started = time.perf_counter()
        read_state(paths.ledger, {"calibrate": 1, "train": 1, "solve": tiles, "stitch": tiles, "pyramid": 0})
        reload = time.perf_counter() - started
        first, last = min(r.finished - r.seconds for r in records), max(r.finished for r in records)
        inside = sum(r.seconds for r in read_records(paths.ledger) if r.kind in ("solve", "stitch"))
        final = log.samples[-1][1]
        at = [next(rss for _, size, rss in log.samples if size >= share * final) for share in (0.1, 0.25, 0.5, 0.75, 1)]
        return {
            "complete": outcome.complete,
            "tiles": tiles,
            "workers": workers,
            "blend": blend,
            "wall_s": round(last - first, 1),
            "tiles_per_s": round(tiles / (last - first)),
            "task_ms": round(1000 * inside / tiles, 3),
            "overhead_ms": round(1000 * ((last - first) * workers - inside) / tiles, 3),
            "client_and_scheduler_mb_at_10_25_50_75_100_percent": [round(rss / 1e6) for rss in at],
            "ledger_mb": round(paths.ledger.stat().st_size / 1e6, 1),
            "ledger_reload_s": round(reload, 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--blend", type=int, default=0, help="pixels; above 0 through scratch and stitching")
    parser.add_argument("--short", action="store_true", help="2,000 tiles")
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    tiles = 2_000 if options.short else options.tiles
    result = measure(tiles, options.workers, options.blend)
    print(json.dumps(result, indent=1))
    if options.output:
        rows = "\n".join(f"| {key.replace('_', ' ')} | {value} |" for key, value in result.items())
        text = f"""# Many tiles

`python benchmarks/scale.py --tiles {tiles}` on {time.strftime("%Y-%m-%d")}, {psutil.cpu_count()} cores,
{psutil.virtual_memory().total / 2**30:.0f} GiB, Python {platform.python_version()}:
{tiles} tiles of {SIDE} x {SIDE} pixels, the identity solver, zarr in and zarr out, through the dask
executor on {options.workers} local workers, connections encrypted. Client and scheduler share one process, whose
resident memory is given. Overhead is what a tile costs beyond the time inside its tasks:
(wall time x workers - time inside tasks) / tiles.

| | |
|---|---|
{rows}
"""
        options.output.write_text(text)


if __name__ == "__main__":
    main()
