"""Metrics against a ground truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

_BINS = 256
"""Bins of the joint histogram along each axis."""


def psnr(ground_truth: NDArray[np.floating], estimate: NDArray[np.floating], data_range: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio in dB: 10 log10(data_range^2 / mean squared error)."""
    return float(peak_signal_noise_ratio(ground_truth, estimate, data_range=data_range))


def ssim(ground_truth: NDArray[np.floating], estimate: NDArray[np.floating], data_range: float = 1.0) -> float:
    """Return the mean structural similarity of two planes (y x), scikit-image's default window (Wang 2004)."""
    return float(structural_similarity(ground_truth, estimate, data_range=data_range))


def mutual_information(ground_truth: NDArray[np.floating], estimate: NDArray[np.floating]) -> float:
    """Return the mutual information of the grey values divided by their joint entropy, from 0 to 1.

    1: each image's values determine the other's. Estimated from a joint histogram of 256 x 256 bins over the range of
    each image. 0 where both images are constant.
    """
    counts, _, _ = np.histogram2d(ground_truth.ravel(), estimate.ravel(), _BINS)
    joint = counts / counts.sum()
    separate = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    entropy = -float(np.sum(joint[seen] * np.log2(joint[seen])))
    shared = float(np.sum(joint[seen] * np.log2(joint[seen] / separate[seen])))
    return shared / entropy if entropy > 0 else 0.0


def spectral_mutual_information(ground_truth: NDArray[np.floating], estimate: NDArray[np.floating]) -> float:
    """Return ``mutual_information`` of the cosine transforms (DCT-II) of both images, each of L2 norm 1."""
    return mutual_information(_spectrum(ground_truth), _spectrum(estimate))


def _spectrum(image: NDArray[np.floating]) -> NDArray[np.floating]:
    norm = float(np.linalg.norm(image))
    spectrum: NDArray[np.floating] = dctn(image / norm if norm > 0 else image, type=2)
    return spectrum
