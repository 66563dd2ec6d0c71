"""What is done when the last block is written: metrics as arrays, and the output declared complete."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.geometry import TilePlan
from ssi_pipeline.storage.ledger import read_records
from ssi_pipeline.storage.output import write_quality
from ssi_pipeline.storage.records import TaskRecord
from ssi_pipeline.tasks import Context

METHODS = {
    name: code
    for code, name in enumerate(
        ("identity", "network", "wiener", "constant", "richardson_lucy", "tv", "tv_cg", "published")
    )
}
STATUSES = {"done": 1, "failed": 2, "invalid": 0}

METRICS: dict[str, str] = {
    "status": "0 to do, 1 done, 2 failed",
    "method": ", ".join(f"{code} {name}" for name, code in METHODS.items()),
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


class TileMetrics:
    """Every metric as an array over the tiles, filled from the ledger's records in their order.

    Of a tile solved again, and of a block written again, the last record counts.
    """

    def __init__(self, plan: TilePlan) -> None:
        self._plan = plan
        self._arrays = {name: np.full(plan.n_tiles, np.nan, np.float32) for name in METRICS}
        self._arrays["status"][:] = 0
        self._seams: dict[int, NDArray[np.float64]] = {}

    def note(self, record: TaskRecord) -> None:
        """Take one record into account; only tiles and written blocks matter."""
        if record.kind == "stitch" and record.quality.get("seams"):
            self._seams[record.index] = np.asarray(record.quality["seams"], np.float64)
        if record.kind != "solve":
            return
        own: dict[str, float | None] = {
            "status": STATUSES[record.status],
            "method": METHODS.get(record.quality.get("method", "")),
            "attempts": record.attempt,
            "seconds": record.seconds,
            "peak_bytes": record.peak_bytes,
        }
        for name, values in self._arrays.items():
            value = own[name] if name in own else record.quality.get(name)
            values[record.index] = np.nan if value is None else value

    def on_grid(self, scales: Sequence[float]) -> dict[str, NDArray[np.float32]]:
        """Return the arrays on the tile grid (t c z y x); ``scales``: intensity scale of each channel that is known."""
        squares, voxels = np.zeros(self._plan.n_tiles), np.zeros(self._plan.n_tiles)
        for tile, square, count in (seam for block in self._seams.values() for seam in block):
            squares[int(tile)] += square
            voxels[int(tile)] += count
        seen = voxels > 0
        self._arrays["seam"][seen] = np.sqrt(squares[seen] / voxels[seen])
        grid = {name: values.reshape(self._plan.tile_grid) for name, values in self._arrays.items()}
        for c, scale in enumerate(scales):
            grid["seam"][:, c] /= scale or 1.0
        return grid


def tile_metrics(context: Context) -> dict[str, NDArray[np.float32]]:
    """Return every metric as an array on the tile grid (t c z y x), NaN where a tile has none."""
    metrics = TileMetrics(context.plan)
    for record in read_records(context.paths.ledger):
        metrics.note(record)
    return metrics.on_grid([context.calibration(c).scale for c in range(context.plan.shape[1])])


def write_metrics(context: Context) -> None:
    """Write the metrics beside the image, under ``quality/`` in the output."""
    for name, values in tile_metrics(context).items():
        write_quality(context.document.config.output.path, name, values, "tczyx")
