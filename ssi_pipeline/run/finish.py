"""What is done when the last block is written: metrics as arrays, and the output declared complete."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.storage.ledger import read_records
from ssi_pipeline.storage.output import write_quality
from ssi_pipeline.storage.records import TaskRecord
from ssi_pipeline.tasks import Context

METHODS = {"identity": 0, "network": 1, "wiener": 2, "constant": 3}
STATUSES = {"done": 1, "failed": 2, "invalid": 0}

METRICS: dict[str, str] = {
    "status": "0 to do, 1 done, 2 failed",
    "method": "0 identity, 1 network, 2 Wiener (linear), 3 constant tile",
    "heldout_before": "held-out loss before training, in squared normalised intensity",
    "heldout_after": "held-out loss of the estimate that was kept",
    "heldout_wiener": "held-out loss of the linear (Wiener) solution",
    "steps": "training steps taken",
    "trainings": "trainings started (more than one: a training failed and was repeated)",
    "attempts": "times that the task was tried",
    "seconds": "wall time of the task",
    "peak_bytes": "peak memory of the task's process",
    "flux_ratio": "sum of the estimate over sum of the measurement, on the core",
    "clipped_share": "share of voxels outside the range of the output's dtype",
    "nonfinite": "NaN or infinite pixels read",
    "seam": "RMS difference from the neighbours in the overlap, over the channel's intensity scale",
}


def tile_metrics(context: Context) -> dict[str, NDArray[np.float32]]:
    """Return every metric as an array on the tile grid (t c z y x), NaN where a tile has none."""
    plan = context.plan
    arrays = {name: np.full(plan.n_tiles, np.nan, np.float32) for name in METRICS}
    arrays["status"][:] = 0
    seams: dict[int, list[list[float]]] = {}
    for record in read_records(context.paths.ledger):
        if record.kind == "solve":
            _note_tile(arrays, record)
        elif record.kind == "stitch" and record.quality.get("seams"):
            seams[record.index] = record.quality["seams"]  # of a block written again the last counts
    squares, voxels = np.zeros(plan.n_tiles), np.zeros(plan.n_tiles)
    for tile, square, count in (seam for block in seams.values() for seam in block):
        squares[int(tile)] += square
        voxels[int(tile)] += count
    seen = voxels > 0
    arrays["seam"][seen] = np.sqrt(squares[seen] / voxels[seen])
    for c in range(plan.shape[1]):
        scale = context.calibration(c).scale or 1.0
        arrays["seam"].reshape(plan.tile_grid)[:, c] /= scale
    return {name: values.reshape(plan.tile_grid) for name, values in arrays.items()}


def _note_tile(arrays: dict[str, NDArray[np.float32]], record: TaskRecord) -> None:
    known: dict[str, Callable[[], float | None]] = {
        "status": lambda: STATUSES[record.status],
        "method": lambda: METHODS.get(record.quality.get("method", ""), np.nan),
        "attempts": lambda: record.attempt,
        "seconds": lambda: record.seconds,
        "peak_bytes": lambda: record.peak_bytes,
    }
    for name, values in arrays.items():
        if name == "seam":
            continue
        value = known[name]() if name in known else record.quality.get(name)
        values[record.index] = np.nan if value is None else value


def write_metrics(context: Context) -> None:
    """Write the metrics beside the image, under ``quality/`` in the output."""
    for name, values in tile_metrics(context).items():
        write_quality(context.document.config.output.path, name, values, "tczyx")
