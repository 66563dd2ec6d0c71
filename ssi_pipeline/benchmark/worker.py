"""Worker process of the benchmark. Imports are minimal, as processes start often."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import threading
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.benchmark.images import read_truth
from ssi_pipeline.benchmark.methods import Degraded
from ssi_pipeline.benchmark.rows import Row, RowJob, make_row

_psf: list[NDArray[np.float64]] = []
"""PSF of this worker process."""


def begin(psf: NDArray[np.float64]) -> None:
    """Initialise this process: one thread, the PSF (y x), and termination with the client."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # read by torch when a solver first imports it
    threading.Thread(target=_end_with_client, daemon=True).start()
    _psf[:] = [psf]


def _end_with_client() -> None:
    """Terminate this process when the client ends or is killed; otherwise it would wait for work forever."""
    client = multiprocessing.parent_process()
    if client is not None:
        client.join()
        os._exit(1)


def make(job: RowJob) -> Row:
    """Compute one row; an unreadable image becomes the row's error."""
    try:
        truth, degraded = _degraded(job.path, job.crop)
    except Exception as error:  # the image was removed after the start: only its rows fail
        return Row(job.image, job.method, job.seed, job.setup, error=f"{type(error).__name__}: {error}")
    return make_row(job, truth, dataclasses.replace(degraded, changes=job.changes))


@lru_cache(maxsize=2)
def _degraded(path: str, crop: int | None) -> tuple[NDArray[np.float32], Degraded]:
    truth = read_truth(Path(path), crop)
    return truth, Degraded.of(truth, _psf[0])
