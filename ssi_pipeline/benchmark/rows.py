"""One row: a method on an image with a seed, computed, evaluated and stored."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.benchmark.methods import METHODS, Degraded, Restored
from ssi_pipeline.errors import CorruptDataError
from ssi_pipeline.quality.reference import mutual_information, psnr, spectral_mutual_information, ssim
from ssi_pipeline.storage.atomic import replacing, write_json

METRICS = ("psnr", "ssim_range2", "ssim_range1", "mi", "smi")


@dataclass(frozen=True, slots=True)
class RowJob:
    """Job of one row, as sent to a worker. ``setup``: everything that the row's numbers depend on."""

    image: str
    path: str
    method: str
    seed: int
    crop: int | None
    changes: tuple[str, ...]
    setup: dict[str, Any]
    output: str

    @property
    def stem(self) -> str:
        """Name of the row's files."""
        return f"{self.image}.{self.method}" + (f".{self.seed}" if METHODS[self.method].random else "")

    @property
    def row_path(self) -> Path:
        """File of the row."""
        return Path(self.output, "rows", f"{self.stem}.json")

    @property
    def estimate_path(self) -> Path:
        """File of the estimate: npy, float32, y x, clipped to [0, 1]."""
        return Path(self.output, "estimates", f"{self.stem}.npy")


@dataclass(frozen=True, slots=True)
class Row:
    """Metrics and seconds of one method on one image. ``error``: message of a failed row, or empty.

    ``curve``: (iterations, PSNR, SMI) of intermediate estimates, for iterative methods.
    """

    image: str
    method: str
    seed: int
    setup: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    training_seconds: float = 0.0
    inference_seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    seconds: float = 0.0
    error: str = ""


def measure(truth: NDArray[np.float32], estimate: NDArray[np.floating]) -> dict[str, float]:
    """Return the metrics of an estimate, clipped to [0, 1] as in the protocol."""
    x = clipped(estimate)
    return {
        "psnr": psnr(truth, x),
        "ssim_range2": ssim(truth, x, data_range=2),
        "ssim_range1": ssim(truth, x, data_range=1),
        "mi": mutual_information(truth, x),
        "smi": spectral_mutual_information(truth, x),
    }


def clipped(estimate: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return an estimate in [0, 1] as float32."""
    return np.asarray(np.clip(estimate, 0, 1), np.float32)


def make_row(job: RowJob, truth: NDArray[np.float32], degraded: Degraded) -> Row:
    """Run and evaluate a method; store the estimate, then the row. An exception becomes the row's error."""
    started = time.perf_counter()
    row = Row(job.image, job.method, job.seed, job.setup)
    try:
        found = METHODS[job.method].restore(degraded, job.seed)
        if not np.isfinite(found.estimate).all():
            raise FloatingPointError("the estimate has NaN or infinite values")
        _save_estimate(job.estimate_path, clipped(found.estimate))
        row = _measured(row, truth, found)
    except Exception as error:  # a failing row must not stop the others
        row = dataclasses.replace(row, error=f"{type(error).__name__}: {error}")
    row = dataclasses.replace(row, seconds=time.perf_counter() - started)
    write_json(job.row_path, dataclasses.asdict(row))
    return row


def read_row(job: RowJob) -> Row | None:
    """Return the stored row, or None.

    Raises
    ------
    CorruptDataError
        The file is not a row.
    """
    try:
        document = json.loads(job.row_path.read_text())
        return Row(**{**document, "curve": [tuple(point) for point in document["curve"]]})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptDataError(f"{job.row_path} is not a row of ssi benchmark ({error}): remove the file") from error


def _measured(row: Row, truth: NDArray[np.float32], found: Restored) -> Row:
    curve = [
        (n, psnr(truth, clipped(x)), spectral_mutual_information(truth, clipped(x))) for n, x in found.iterates.items()
    ]
    return dataclasses.replace(
        row,
        metrics=measure(truth, found.estimate),
        training_seconds=found.training_seconds,
        inference_seconds=found.inference_seconds,
        facts=found.facts,
        curve=curve,
    )


def _save_estimate(path: Path, estimate: NDArray[np.float32]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, estimate)
