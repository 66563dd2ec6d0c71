"""Write the metrics of all tiles as arrays, and the display ranges of the channels, when a run finishes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.geometry import TilePlan
from ssi_pipeline.methods import RESULTS, UNMEASURED
from ssi_pipeline.quality.alarms import ALARMS, flags
from ssi_pipeline.results.quality_group import write_quality_group
from ssi_pipeline.storage.outputs.omero import omero_block, set_omero
from ssi_pipeline.storage.state.ledger import read_records
from ssi_pipeline.storage.state.records import TaskRecord
from ssi_pipeline.tasks import Context
from ssi_pipeline.tasks.retraining import RETRAINED

METHODS = {result.name: result.code for result in RESULTS.values()}
STATUSES = {"done": 1, "failed": 2, "invalid": 0}

CODES = {
    "status": {"todo": 0, "done": 1, "failed": 2},
    "method": METHODS,
    RETRAINED: {"first_kept": 1, "second_kept": 2},
}
"""Names of the values of metrics that are codes."""

METRICS: dict[str, str] = {
    "status": "0 pending, 1 done, 2 failed",
    "method": ", ".join(f"{code} {name}" for name, code in METHODS.items()),
    "heldout_before": "held-out loss before training, in squared normalised intensity",
    "heldout_after": "held-out loss of the final estimate",
    "heldout_wiener": "held-out loss of the linear (Wiener) solution",
    "steps": "training steps taken",
    "trainings": "trainings started (more than one: a training failed and was retried)",
    RETRAINED: "flagged and trained twice: 1 the first training was kept, 2 the second",
    "attempts": "attempts of the task",
    "seconds": "wall time of the task",
    "peak_bytes": "peak memory of the task's process",
    "flux_ratio": "sum of the estimate over sum of the measurement, on the core",
    "light_ratio": "light of the estimate, blurred, over that of the measurement, above the dark level",
    "impulse_light": "share of the measurement's light above the dark level in pixels detected as hot or dead",
    "clipped_share": "share of voxels outside the range of the output's dtype",
    "clipped_light": "light above the range of the output's dtype, over the measurement's above the darkest",
    "nonfinite": "NaN or infinite pixels read",
    "fill_share": "share of the core that is fill or masked: it was not solved, and is written as it was",
    "heldout_excess": "held-out loss over four disjoint masks less the noise's variance, squared normalised intensity",
    "whiteness": "squared autocorrelation of the residual, summed over lags up to 6 pixels, less white noise's",
    "r2r_risk": "loss of the estimate of a noisier image against an independent one, less the noise, as heldout_excess",
    "chi2": "mean square of the residual over the variance of the noise: 1 where it is the noise",
    "background": "mean deviation of the estimate from its median where the input is all noise, normalised intensity",
    "background_deviation": "the same of the estimate less the mean of the input over 7 x 7: comparable between tiles",
    "uncertainty": "mean of the uncertainty, normalised intensity",
    "uncertainty_scale": "factor on the spread of repeated predictions, calibrated on held-out pixels, 1.4 to 2.8",
    "impulses": "share of pixels detected as hot or dead",
    "saturated_share": "share of voxels that have the tile's highest value; 0 where it is fewer than 8",
    "frc_before": "resolution of the input by ring correlation at 1/7, um where the voxel size is known, else pixels",
    "frc_after": "the same of the estimate: a bound, as smoothed noise correlates",
    "decorrelation_before": "resolution of the input by decorrelation analysis, units as frc_before",
    "decorrelation_after": "the same of the estimate",
    "seam": "RMS difference from the neighbours in the overlap, over the channel's intensity scale",
    "flag": "alarms of the tile, a bit for each: "
    + ", ".join(f"{2**i} {alarm.name}" for i, alarm in enumerate(ALARMS)),
}


class TileMetrics:
    """Every metric as an array over the tiles, filled from the records of the ledger in order.

    The last record of a task counts. Seams are accumulated, not stored for each block: if a block was rewritten, which
    is rare, all are accumulated again (``add_seams_again``).
    """

    def __init__(self, plan: TilePlan) -> None:
        self._plan = plan
        self._writings = np.zeros(plan.n_blocks, np.uint16)
        self._squares, self._voxels = np.zeros(plan.n_tiles), np.zeros(plan.n_tiles)
        self._arrays = {name: np.full(plan.n_tiles, np.nan, np.float32) for name in METRICS}
        self._arrays["status"][:] = 0

    def note(self, record: TaskRecord) -> None:
        """Take one record into account; only those of tiles and written blocks are used."""
        if record.kind == "stitch" and record.status == "done":
            self._writings[record.index] += 1
            self._add_seams(record)
        if record.kind != "solve":
            return
        own: dict[str, float | None] = {
            "status": STATUSES[record.status],
            "method": METHODS.get(record.method),
            "attempts": record.attempt,
            "seconds": record.seconds,
            "peak_bytes": record.peak_bytes,
        }
        for name, values in self._arrays.items():
            value = own[name] if name in own else record.quality.get(name)
            values[record.index] = np.nan if value is None else value

    def _add_seams(self, record: TaskRecord) -> None:
        for tile, square, count in record.seams:
            self._squares[int(tile)] += square
            self._voxels[int(tile)] += count

    @property
    def is_final(self) -> bool:
        """Whether no block was rewritten, so that the accumulated seams are those of the image."""
        return bool((self._writings <= 1).all())

    def add_seams_again(self, records: Iterable[TaskRecord]) -> None:
        """Accumulate the seams of the last version of each block only; ``records``: the same as before."""
        self._squares[:], self._voxels[:] = 0.0, 0.0
        left = self._writings.copy()
        for record in records:
            if record.kind != "stitch" or record.status != "done" or not 0 <= record.index < len(left):
                continue
            if left[record.index] == 1:
                self._add_seams(record)
            if left[record.index]:  # blocks written since the first pass are ignored
                left[record.index] -= 1

    def on_grid(self, scales: Sequence[float]) -> dict[str, NDArray[np.float32]]:
        """Return the arrays on the tile grid (t c z y x); ``scales``: intensity scales of the calibrated channels."""
        seen = self._voxels > 0
        self._arrays["seam"][seen] = np.sqrt(self._squares[seen] / self._voxels[seen])
        grid = {name: values.reshape(self._plan.tile_grid) for name, values in self._arrays.items()}
        for c, scale in enumerate(scales):
            grid["seam"][:, c] /= scale or 1.0
        grid["seam"][grid["method"] == METHODS[UNMEASURED]] = np.nan  # nothing was solved there
        overlaps = [margin > 0 for margin in self._plan.blend]
        grid["flag"] = flags(grid, grid["method"] == METHODS["blank"], overlaps)
        return grid


def tile_metrics(context: Context, until: str | None = None) -> dict[str, NDArray[np.float32]]:
    """Return every metric as an array on the tile grid (t c z y x), NaN for missing values.

    ``until``: ignore records from the first one with this error on.
    """

    def records() -> Iterator[TaskRecord]:
        """Yield the records up to ``until``."""
        found = read_records(context.paths.ledger)
        return takewhile(lambda record: until is None or record.error != until, found)

    metrics = TileMetrics(context.plan)
    for record in records():
        metrics.note(record)
    if not metrics.is_final:
        metrics.add_seams_again(records())
    return metrics.on_grid([context.calibration(c).scale for c in range(context.plan.shape[1])])


def write_metrics(context: Context) -> dict[str, NDArray[np.float32]]:
    """Write the metrics to ``quality/`` in the output; returns them."""
    metrics = tile_metrics(context)
    write_quality_group(context, metrics, METRICS, CODES)
    return metrics


def write_display(context: Context) -> None:
    """Write the display range of each channel, from its calibration, for viewers."""
    document = context.document
    known = [context.calibration(c) for c in range(context.plan.shape[1])]
    shown = [(c.minimum, c.offset, c.offset + c.scale) for c in known]
    block = omero_block(
        document.volume.axes,
        document.image_metadata.get("omero"),
        context.plan.shape,
        context.dtype,
        dict(zip("tczyx", context.origin, strict=True)),
        shown,
    )
    set_omero(document.config.output.path, block)
