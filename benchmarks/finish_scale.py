"""The end of a run of many tiles that nobody solved: metrics, alarms, summary and table, each timed in its own process.

The ledger is that of ``report_scale.py``. The image has no pixels: what is timed reads the ledger alone.

    python benchmarks/finish_scale.py --tiles 1000000 --output end-1m
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import zarr
from report_scale import build

from ssi_pipeline.config import RunConfig
from ssi_pipeline.results.alarms import describe_quality
from ssi_pipeline.results.export import export
from ssi_pipeline.results.finish import tile_metrics, write_metrics
from ssi_pipeline.results.ledger_summary import Tally, read_tally
from ssi_pipeline.run.summary import summarise
from ssi_pipeline.tasks import Context
from ssi_pipeline.tasks.opening import open_context, task_counts

CALIBRATION = {
    "offset": 100.0,
    "scale": 1000.0,
    "noise_sigma": 5.0,
    "noise_alpha": 1.0,
    "impulse_share": 0.0,
    "wiener_weight": 1.0,
    "minimum": 90.0,
}
STEPS: dict[str, Callable[[RunConfig], object]] = {
    "read metrics, flag tiles": lambda config: tile_metrics(open_context(config)),
    "the same, write arrays, describe": lambda config: describe_quality(write_metrics(open_context(config))),
    "summary": lambda config: summarise(_tally(open_context(config))),
    "export csv": lambda config: export(config, config.state_path / "metrics.csv"),
    "export parquet": lambda config: export(config, config.state_path / "metrics.parquet"),
}


def _tally(context: Context) -> Tally:
    return read_tally([context.paths.ledger], task_counts(context))


def make(folder: Path, tiles: int) -> RunConfig:
    """Write what the end of a run reads: document, ledger, calibration, and an output without pixels."""
    config = build(folder, tiles)
    context = open_context(config)
    context.paths.calibration.write_text(json.dumps([CALIBRATION] * context.plan.shape[1]))
    zarr.open_group(config.output.path, mode="a", zarr_format=3)
    (folder / "config.json").write_text(json.dumps(config.model_dump(mode="json")))
    return config


def measure(folder: Path, step: str) -> None:
    """Print seconds and peak memory of one step."""
    config = RunConfig.model_validate_json((folder / "config.json").read_text())
    started, worked = time.perf_counter(), time.process_time()
    STEPS[step](config)
    found = {
        "step": step,
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - worked, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
    }
    print(json.dumps(found), flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=1_000_000)
    parser.add_argument("--short", action="store_true", help="few tiles: only that it works")
    parser.add_argument("--output", type=Path, default=Path("build", "finish-scale"))
    parser.add_argument("--step", choices=[*STEPS], help="only this one, of a run that is there")
    options = parser.parse_args(arguments)
    if options.step:
        measure(options.output, options.step)
        return
    make(options.output, 500 if options.short else options.tiles)
    for step in STEPS:
        if "parquet" in step and importlib.util.find_spec("pyarrow") is None:
            continue
        command = [sys.executable, __file__, "--output", str(options.output), "--step", step]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
