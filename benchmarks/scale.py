"""Many tiles of a trivial solver through the dask executor: does memory stay flat, what does a tile cost?

The client and the scheduler live in this process (a local cluster), so its resident memory is theirs.
Overhead a tile is (wall time x workers - time inside tasks) / tiles, for the stage of tiles and blocks alone.

    python benchmarks/scale.py --tiles 100000
    python benchmarks/scale.py --tiles 1000000 --bare   # the work of a tile left out: the pipeline's own cost
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import sys
import tempfile
import threading
import time
from pathlib import Path

import dask
import distributed  # noqa: F401 its settings are loaded now: set for a while before, all of them would be removed after
import numpy as np
import psutil
import yaml
import zarr

from ssi_pipeline.config import parse_config
from ssi_pipeline.run import run
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.ledger import read_heads, read_state

SIDE = 64


def build(folder: Path, tiles: int, blend: int, workers: int, bare: bool) -> dict:
    source = zarr.create_array(
        folder / "input.zarr",
        shape=(tiles, SIDE, SIDE),
        chunks=(256, SIDE, SIDE),
        dtype="uint8",
        dimension_names=["z", "y", "x"],
    )
    plane = np.random.default_rng(0).integers(0, 255, (256, SIDE, SIDE), dtype="uint8")
    for start in range(0, 256 if bare else tiles, 256):  # what nobody reads need not be there
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

    def megabytes(self) -> list[int]:
        final = self.samples[-1][1]
        shares = (0.1, 0.25, 0.5, 0.75, 1)
        return [round(next(rss for _, size, rss in self.samples if size >= share * final) / 1e6) for share in shares]


def measure(tiles: int, workers: int, blend: int, bare: bool) -> dict:
    with tempfile.TemporaryDirectory(prefix="ssi-scale-") as name:
        folder = Path(name)
        document = build(folder, tiles, blend, workers, bare)
        config = parse_config(document)
        paths = StatePaths(config.state_path)
        log = MemoryLog(paths.ledger)
        log.start()
        preload = {"distributed.worker.preload": [str(Path(__file__).with_name("bare.py"))]} if bare else {}
        with dask.config.set(preload):
            outcome = run(config)
        log.done.set()
        result = {"complete": outcome.complete, "tiles": tiles, "workers": workers, "blend": blend, "bare": bare}
        result |= rates(paths.ledger, tiles, workers)
        result["client_and_scheduler_mb_at_10_25_50_75_100_percent"] = log.megabytes()
        result |= reload_cost(paths.ledger, tiles)
        return result | status_cost(folder, document)


def rates(ledger: Path, tiles: int, workers: int) -> dict:
    first, last, inside = float("inf"), 0.0, 0.0
    for head in read_heads(ledger):
        if head.kind in ("solve", "stitch"):
            inside += head.seconds
        if head.kind == "solve":
            first, last = min(first, head.finished - head.seconds), max(last, head.finished)
    return {
        "wall_s": round(last - first, 1),
        "tiles_per_s": round(tiles / (last - first)),
        "task_ms": round(1000 * inside / tiles, 3),
        "overhead_ms": round(1000 * ((last - first) * workers - inside) / tiles, 3),
    }


def reload_cost(ledger: Path, tiles: int) -> dict:
    started = time.perf_counter()
    read_state(ledger, {"calibrate": 1, "train": 1, "solve": tiles, "stitch": tiles, "pyramid": 0})
    seconds = time.perf_counter() - started
    return {
        "ledger_mb": round(ledger.stat().st_size / 1e6, 1),
        "ledger_records": sum(1 for _ in read_heads(ledger)),
        "ledger_reload_s": round(seconds, 2),
    }


def status_cost(folder: Path, document: dict) -> dict:
    """The command as a user calls it, its start included."""
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(document))
    started, peak = time.perf_counter(), 0
    process = psutil.Popen([sys.executable, "-m", "ssi_pipeline.cli", "status", str(file)])
    while process.poll() is None:  # the system's own peak would count this process too, from before the exec
        with contextlib.suppress(psutil.NoSuchProcess):
            peak = max(peak, process.memory_info().rss)
        time.sleep(0.01)
    return {
        "status_command_s": round(time.perf_counter() - started, 2),
        "status_command_peak_mb": round(peak / 1e6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--blend", type=int, default=0, help="pixels; above 0 through scratch and stitching")
    parser.add_argument("--bare", action="store_true", help="leave out the work of a tile: nothing read or written")
    parser.add_argument("--short", action="store_true", help="2,000 tiles")
    parser.add_argument("--output", type=Path, help="Markdown file to append to")
    options = parser.parse_args()
    tiles = 2_000 if options.short else options.tiles
    result = measure(tiles, options.workers, options.blend, options.bare)
    print(json.dumps(result, indent=1))
    if options.output:
        with options.output.open("a") as stream:
            stream.write(table(result, tiles, options))


def table(result: dict, tiles: int, options: argparse.Namespace) -> str:
    rows = "\n".join(f"| {key.replace('_', ' ')} | {value} |" for key, value in result.items())
    work = "with the work of a tile left out" if options.bare else "the identity solver, zarr in and zarr out"
    call = f"python benchmarks/scale.py --tiles {tiles}{' --bare' if options.bare else ''}"
    return f"""
## {tiles} tiles{", bare" if options.bare else ""}

`{call}` on {time.strftime("%Y-%m-%d")}, {psutil.cpu_count()} cores,
{psutil.virtual_memory().total / 2**30:.0f} GiB, Python {platform.python_version()}: {tiles} tiles of {SIDE} x {SIDE}
pixels, {work}, through the dask executor on {options.workers} local workers, connections encrypted.

| | |
|---|---|
{rows}
"""


if __name__ == "__main__":
    main()
