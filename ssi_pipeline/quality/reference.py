"""Metrics against a known truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def psnr(truth: NDArray[np.floating], estimate: NDArray[np.floating], data_range: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio in dB: 10 log10(data_range^2 / mean squared error)."""
    return float(peak_signal_noise_ratio(truth, estimate, data_range=data_range))


def ssim(truth: NDArray[np.floating], estimate: NDArray[np.floating], data_range: float = 1.0) -> float:
    """Return the mean structural similarity of two planes (y x), scikit-image's default window (Wang 2004)."""
    return float(structural_similarity(truth, estimate, data_range=data_range))
