"""The report of a run of many tiles that nobody solved: how long does it take, how large is the page?

The ledger is made up: smooth fields over the volume for the metrics, a region that is worse, failures in a corner.

    python benchmarks/report_scale.py --tiles 100000 --output page-100k
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import time
from pathlib import Path

import numpy as np
import zarr

from ssi_pipeline.config import RunConfig
from ssi_pipeline.report import write_report
from ssi_pipeline.results.finish import METRICS
from ssi_pipeline.run.create import save_inputs
from ssi_pipeline.run.prepare import prepare
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.records import TaskRecord
from ssi_pipeline.tasks import Context

SIDE, CHANNELS, PLANES = 32, 2, 10
FAILURES = ("CorruptDataError: chunk 0/0/{} fails its checksum", "TrainingError: the loss is not finite at step {}")
OURS = ("status", "method", "attempts", "seconds", "peak_bytes", "steps", "trainings", "flux_ratio", "clipped_share")


def build(folder: Path, tiles: int) -> RunConfig:
    """Write what a run of about ``tiles`` tiles leaves, without the images."""
    folder.mkdir(parents=True, exist_ok=True)
    side = max(2, round(math.sqrt(tiles / CHANNELS / PLANES)))
    image = zarr.create_array(
        folder / "input.zarr",
        shape=(CHANNELS, PLANES, side * SIDE, side * SIDE),
        chunks=(1, 1, 1024, 1024),
        dtype="uint16",
        dimension_names=tuple("czyx"),
        overwrite=True,
    )
    image[..., :1, :1] = 1  # one chunk a plane: an input without any is refused
    config = RunConfig.model_validate(
        {
            "input": {"path": folder / "input.zarr"},
            "output": {"path": folder / "output.zarr", "pyramid": False},
            "psf": {"kind": "gaussian", "fwhm_px": {"y": 2.5, "x": 2.5}},
            "tiling": {"dimensions": 2, "core": SIDE},
        }
    )
    context = save_inputs(prepare(config))
    with context.paths.ledger.open("w") as ledger:
        ledger.writelines(record.to_line() + "\n" for record in records(context))
    return config


def records(context: Context):
    """Yield one solved or failed tile after the other, and the block of each."""
    rng = np.random.default_rng(0)
    grid = context.plan.tile_grid
    for index in range(context.plan.n_tiles):
        _, c, z, y, x = (int(i) for i in np.unravel_index(index, grid))
        v, u = y / grid[3], x / grid[4]
        wave = 1 + 0.6 * math.sin(9 * u + c) * math.cos(7 * v + z / 3)
        bad = math.exp(-((u - 0.7) ** 2 + (v - 0.3) ** 2) / 0.01)
        host, finished = f"node{index % 37}:{index % 4}", 1.75e9 + 0.4 * index
        if u < 0.06 and v > 0.92:
            error = FAILURES[index % 2].format(index)
            yield TaskRecord("solve", index, "failed", 2, 3.0, 2 * 10**9, host, finished, {}, error)
            continue
        quality = measured(rng, wave, bad)
        yield TaskRecord("solve", index, "done", 1, rng.lognormal(3, 0.1), 2 * 10**9, host, finished, quality)
        seams = [[index, (40 * (0.02 + 0.2 * bad) ** 2) * rng.lognormal(0, 0.3), 40]]
        written = {"digest": "0" * 16, "stored_bytes": 1800, "seams": seams}
        yield TaskRecord("stitch", index, "done", quality=written)


def measured(rng: np.random.Generator, wave: float, bad: float) -> dict:
    """Return a tile's quality; metrics that this script does not know are drawn about 1."""
    wiener = 2e-3 * wave * rng.lognormal(0, 0.1)
    after = wiener * (0.9 + 0.2 * bad)
    failed = bad > 0.95
    known = {
        "method": "wiener" if failed else "network",
        "heldout_before": 1.1 * wiener,
        "heldout_after": after,
        "heldout_wiener": wiener,
        "steps": int(rng.integers(300, 500)),
        "trainings": 2 if failed else 1,
        "flux_ratio": 1 + 0.01 * rng.normal() - 0.1 * bad,
        "clipped_share": 0.001 * max(0.0, wave - 1.4),
        "nonfinite": 0,
        "trace": [[s, 0.02 * math.exp(-s / 80) + after, 0.01 * math.exp(-s / 80) + after] for s in range(0, 500, 50)],
        "note": "training failed, linear solution kept: held-out loss 0.5" if failed else "",
    }
    others = {name: rng.lognormal(bad, 0.2) for name in METRICS if name not in OURS and name not in known}
    return {**others, **known}


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=100_000)
    parser.add_argument("--short", action="store_true", help="500 tiles: only that it works")
    parser.add_argument("--output", type=Path, default=Path("build", "report-scale"))
    options = parser.parse_args(arguments)
    config = build(options.output, 500 if options.short else options.tiles)
    started, worked = time.perf_counter(), time.process_time()
    path = write_report(config)
    found = {
        "tiles": prepare(config).document.plan.n_tiles,
        "ledger_mb": StatePaths(config.state_path).ledger.stat().st_size / 1e6,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - worked,
        "page_mb": path.stat().st_size / 1e6,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "page": str(path),
    }
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
