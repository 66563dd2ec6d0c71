"""Export every metric of every tile as a table, CSV or Parquet, for programs that do not read zarr."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import ConfigError, InputError, OutputError, how_to_install
from ssi_pipeline.quality.alarms import names_of
from ssi_pipeline.results.finish import METHODS, METRICS, STATUSES, tile_metrics
from ssi_pipeline.storage.atomic import replacing
from ssi_pipeline.storage.state.collection import Collection
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.tasks import Context
from ssi_pipeline.tasks.opening import open_context

_AXES = "tczyx"
_WORDS = {"status": {0: "todo", **{code: word for word, code in STATUSES.items() if code}}}
_WORDS["method"] = {code: name for name, code in METHODS.items()}

COLUMNS = ("tile", *(f"grid_{a}" for a in _AXES), *(f"start_{a}" for a in "zyx"), *METRICS, "alarms")
"""``start_*``: first voxel of the tile's core in the output. ``alarms``: names of those in ``flag``."""

_HEAD_BYTES, _FOOT_BYTES = 256, 1 << 20
"""Bytes read of an existing table: the first column names, and the Parquet footer."""

_ROWS = 10_000
"""Rows written at a time: a million tiles as Python objects take gigabytes."""


@dataclass(frozen=True, slots=True)
class Column:
    """One value per tile: integers, or float32 with NaN for none; with ``words``, indices into these."""

    name: str
    values: NDArray[Any]
    words: tuple[str | None, ...] = ()


def export(config: RunConfig, path: Path) -> int:
    """Write the table of a run, finished or not; returns the number of tiles.

    In Parquet, ``tile``, ``grid_*`` and ``start_*`` are int64, metrics float32 with nulls, the others strings.

    Raises
    ------
    ConfigError
        The name does not end in .csv or .parquet, or pyarrow is not installed.
    OutputError
        The file exists and is not such a table.
    InputError
        There is no run, or its channels are not calibrated yet.
    """
    write = _writer(path)
    context = open_context(config)
    write(path, iter([tile_columns(context)]))
    return context.plan.n_tiles


def export_images(collection: Collection, path: Path) -> int:
    """Write one table of many images, with the column ``image`` first; returns the number of tiles.

    Images without metrics, as nothing of them is solved yet, are left out.

    Raises
    ------
    ConfigError, OutputError
        As ``export``.
    InputError
        No image has metrics yet.
    """
    write, tiles = _writer(path), 0

    def tables() -> Iterator[list[Column]]:
        """Yield the table of each image."""
        nonlocal tiles
        for image in collection.images:
            if not StatePaths(collection.paths.state(image.name)).calibration.exists():
                continue
            context = open_context(collection.config_of(image))
            tiles += context.plan.n_tiles
            yield [Column("image", np.zeros(context.plan.n_tiles, np.int64), (image.name,)), *tile_columns(context)]

    found = tables()
    if (first := next(found, None)) is None:
        raise InputError(f"{collection.paths.root} has no metrics yet: no tile has been solved")
    write(path, itertools.chain([first], found))
    return tiles


def _writer(path: Path) -> Callable[[Path, Iterator[list[Column]]], None]:
    """Return what writes tables to a file of this name, after checks."""
    write = {".csv": _write_csv, ".parquet": _write_parquet}.get(path.suffix.lower())
    if write is None:
        raise ConfigError(f"--output {path}: expected a name that ends in .csv or .parquet")
    if not path.parent.is_dir():
        raise ConfigError(f"--output {path}: the folder {path.parent} does not exist")
    _refuse_foreign(path)
    return write


def _refuse_foreign(path: Path) -> None:
    """Refuse to overwrite a file that was not exported by ssi, judged by its column names."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
            stream.seek(max(0, path.stat().st_size - _FOOT_BYTES))
            ours = head.removeprefix(b"image,").startswith(",".join(COLUMNS[:6]).encode()) or _is_parquet(
                head, stream.read()
            )
    except FileNotFoundError:
        return
    if not ours:
        raise OutputError(f"--output {path} exists and was not written by ssi: choose another name, or move it away")


def _is_parquet(head: bytes, foot: bytes) -> bool:
    return head.startswith(b"PAR1") and all(name.encode() in foot for name in COLUMNS)


def known_metrics(context: Context) -> dict[str, NDArray[np.float32]]:
    """Return every metric on the tile grid (t c z y x).

    Raises
    ------
    InputError
        The channels are not calibrated yet.
    """
    if not context.paths.calibration.exists():
        raise InputError(f"{context.paths.root} has no metrics yet: no tile has been solved")
    return tile_metrics(context)


def tile_columns(context: Context) -> list[Column]:
    """Return the columns in the order of ``COLUMNS``."""
    metrics, plan = known_metrics(context), context.plan
    tiles = np.arange(plan.n_tiles)
    grid = np.unravel_index(tiles, plan.tile_grid)
    places = [Column(f"grid_{axis}", position) for axis, position in zip(_AXES, grid, strict=True)]
    starts = [
        Column(f"start_{axis}", position * core)
        for axis, position, core in zip(_AXES[2:], grid[2:], plan.core, strict=True)
    ]
    own = [_metric(name, metrics[name].reshape(-1)) for name in METRICS]
    flags, which = np.unique(np.nan_to_num(metrics["flag"].reshape(-1)), return_inverse=True)
    alarms = Column("alarms", which, tuple(" ".join(names_of(float(flag))) for flag in flags))
    return [Column("tile", tiles), *places, *starts, *own, alarms]


def _metric(name: str, values: NDArray[np.float32]) -> Column:
    if name not in _WORDS:
        return Column(name, values)
    words = (*(word for _, word in sorted(_WORDS[name].items())), None)
    return Column(name, np.nan_to_num(values, nan=len(words) - 1).astype(np.int64), words)


def _write_csv(path: Path, tables: Iterator[list[Column]]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        output = csv.writer(file)
        for number, columns in enumerate(tables):
            if not number:
                output.writerow([column.name for column in columns])
            for first in range(0, len(columns[0].values), _ROWS):
                rows = slice(first, first + _ROWS)
                output.writerows(zip(*(_cells(column, rows) for column in columns), strict=True))


def _cells(column: Column, rows: slice) -> list[Any]:
    """Return some rows as Python values, None for missing ones."""
    values: list[Any] = column.values[rows].tolist()
    if column.words:
        return [column.words[code] for code in values]
    if column.values.dtype.kind == "i":
        return values
    whole = column.name != "flux_ratio"  # a ratio of exactly 1 is not a count
    return [
        None if value != value else int(value) if whole and value.is_integer() else f"{value:.7g}" for value in values
    ]


def _write_parquet(path: Path, tables: Iterator[list[Column]]) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ConfigError(
            f"--output {path}: Parquet needs pyarrow: {how_to_install('pyarrow', 'parquet')}; or choose a .csv"
        ) from None

    def table(columns: list[Column]) -> Any:
        """Return one table."""
        return pyarrow.table({column.name: array(column) for column in columns})

    def array(column: Column) -> Any:
        """Return the values of a column, nulls where there is none."""
        if column.words:
            return pyarrow.array(column.words, pyarrow.string()).take(pyarrow.array(column.values))
        return pyarrow.array(column.values, mask=np.isnan(column.values))

    first = table(next(tables))
    with replacing(path) as temporary, parquet.ParquetWriter(temporary, first.schema) as output:
        output.write_table(first)
        for columns in tables:
            output.write_table(table(columns))
