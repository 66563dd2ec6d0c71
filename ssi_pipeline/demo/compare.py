"""Compare the pipeline's output with the input and the best Richardson-Lucy, against the ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.benchmark.richardson_lucy import richardson_lucy
from ssi_pipeline.quality.reference import psnr, ssim

MOST_ITERATIONS = 30


@dataclass(frozen=True, slots=True)
class Row:
    """Result of one method: planes (z y x, clipped to [0, 1]) and mean metrics."""

    name: str
    planes: NDArray[np.float32]
    psnr_db: float
    ssim: float


def rate(name: str, truth: NDArray[np.float32], planes: NDArray[np.floating]) -> Row:
    """Clip to [0, 1], as in the published protocol, and average the metrics over planes."""
    clipped = np.clip(planes, 0, 1).astype(np.float32)
    pairs = list(zip(truth, clipped, strict=True))
    return Row(
        name,
        clipped,
        float(np.mean([psnr(t, e) for t, e in pairs])),
        float(np.mean([ssim(t, e) for t, e in pairs])),
    )


def best_richardson_lucy(truth: NDArray[np.float32], measured: NDArray[np.floating], psf: NDArray[np.floating]) -> Row:
    """Return Richardson-Lucy with the best iteration (1 to 30) per plane, selected by the ground truth.

    This is an upper bound for the method: users have no ground truth to select by.
    """
    chosen = []
    for plane, clean in zip(measured, truth, strict=True):
        estimates = [np.clip(x, 0, 1).astype(np.float32) for x in islice(richardson_lucy(plane, psf), MOST_ITERATIONS)]
        chosen.append(max(estimates, key=lambda x, t=clean: psnr(t, x)))  # type: ignore[misc]
    return rate("Richardson-Lucy, best of 30 iterations", truth, np.stack(chosen))
