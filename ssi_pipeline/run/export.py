"""Every metric of every tile as a table, for programs that read no zarr: CSV, or Parquet where pyarrow is there."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import ConfigError, InputError
from ssi_pipeline.quality.alarms import names_of
from ssi_pipeline.run.finish import METHODS, METRICS, STATUSES, tile_metrics
from ssi_pipeline.run.verify import open_context
from ssi_pipeline.storage.atomic import replacing
from ssi_pipeline.tasks import Context

_AXES = "tczyx"
_WORDS = {"status": {0: "todo", **{code: word for word, code in STATUSES.items() if code}}}
_WORDS["method"] = {code: name for name, code in METHODS.items()}

COLUMNS = ("tile", *(f"grid_{a}" for a in _AXES), *(f"start_{a}" for a in "zyx"), *METRICS, "alarms")
"""``start_*``: first voxel of the tile's core in the output. ``alarms``: names of those in ``flag``."""


def export(config: RunConfig, path: Path) -> int:
    """Write the table of a run, finished or not; returns the number of tiles.

    Raises
    ------
    ConfigError
        The name ends in neither .csv nor .parquet, or pyarrow is not installed.
    InputError
        There is no run, or nothing is calibrated yet.
    """
    write = {".csv": _write_csv, ".parquet": _write_parquet}.get(path.suffix.lower())
    if write is None:
        raise ConfigError(f"--output {path}: expected a name that ends in .csv or .parquet")
    if not path.parent.is_dir():
        raise ConfigError(f"--output {path}: the folder {path.parent} does not exist")
    context = open_context(config)
    if not context.paths.calibration.exists():
        raise InputError(f"{context.paths.root} has no metrics yet: `ssi run` has solved nothing")
    write(path, _rows(context))
    return context.plan.n_tiles


def _rows(context: Context) -> Iterator[list[Any]]:
    """Yield the values of each tile in the order of ``COLUMNS``; None where there is none."""
    metrics, plan = tile_metrics(context), context.plan
    values = {name: metrics[name].reshape(-1) for name in METRICS}
    for index in range(plan.n_tiles):
        place = np.unravel_index(index, plan.tile_grid)
        own = [_value(name, float(values[name][index])) for name in METRICS]
        alarms = " ".join(names_of(float(values["flag"][index])))
        yield [index, *(int(i) for i in place), *plan.tile(index).core.start, *own, alarms]


def _value(name: str, value: float) -> float | int | str | None:
    if np.isnan(value):
        return None
    if name in _WORDS:
        return _WORDS[name].get(int(value), "unknown")
    return int(value) if value.is_integer() and name != "flux_ratio" else float(f"{value:.7g}")


def _write_csv(path: Path, rows: Iterator[list[Any]]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerows(rows)


def _write_parquet(path: Path, rows: Iterator[list[Any]]) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ConfigError(
            f"--output {path}: Parquet needs pyarrow, which is not installed: `pip install pyarrow`, or give a .csv"
        ) from None
    words = {"alarms", *_WORDS}
    columns = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    arrays = {
        name: list(column) if name in words else [None if v is None else float(v) for v in column]
        for name, column in columns.items()
    }
    with replacing(path) as temporary:
        parquet.write_table(pyarrow.table(arrays), temporary)
