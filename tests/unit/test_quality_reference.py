"""Metrics against a ground truth, on images with a closed-form answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dct

from ssi_pipeline.quality.reference import mutual_information, psnr, spectral_mutual_information, ssim

RNG = np.random.default_rng(0)
IMAGE = RNG.random((200, 300)).astype(np.float32)


def test_psnr_and_ssim() -> None:
    assert psnr(IMAGE, IMAGE + np.float32(0.1)) == pytest.approx(20, abs=1e-3)
    assert ssim(IMAGE, IMAGE) == pytest.approx(1)
    noisy = IMAGE + np.float32(0.2) * RNG.standard_normal(IMAGE.shape).astype(np.float32)
    assert ssim(IMAGE, noisy, data_range=2) > ssim(IMAGE, noisy, data_range=1)


def test_an_image_has_full_information_on_any_invertible_map_of_its_values() -> None:
    assert mutual_information(IMAGE, IMAGE) == pytest.approx(1)
    assert mutual_information(IMAGE, 3 - 2 * IMAGE) == pytest.approx(1, abs=0.01)


def test_independent_images_have_no_mutual_information() -> None:
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 4, (2, 400, 400)).astype(np.float32)
    # the bias of 16 counted cells is (4 - 1)^2 / (2 N ln 2) bits, over an entropy of 4 bits
    assert mutual_information(grey[0], grey[1]) == pytest.approx(9 / (2 * 160_000 * np.log(2)) / 4, abs=5e-5)


def test_a_known_joint_distribution() -> None:
    # (a, b) = (0, 0) for half of the pixels, (1, 0) and (1, 1) for a quarter each
    a = np.repeat([0.0, 0.0, 1.0, 1.0], 100).reshape(20, 20)
    b = np.repeat([0.0, 0.0, 0.0, 1.0], 100).reshape(20, 20)
    shared = 0.5 * np.log2(0.5 / (0.5 * 0.75)) + 0.25 * np.log2(0.25 / (0.5 * 0.75)) + 0.25 * np.log2(0.25 / 0.125)
    assert mutual_information(a, b) == pytest.approx(shared / 1.5)


def test_constant_images_have_no_mutual_information() -> None:
    zeros = np.zeros((20, 20))
    assert mutual_information(zeros, zeros) == 0
    assert spectral_mutual_information(zeros, zeros) == 0
    assert np.isfinite(spectral_mutual_information(IMAGE, np.zeros_like(IMAGE)))


def test_the_spectral_one_is_that_of_the_cosine_transforms_whatever_the_scale() -> None:
    other = (IMAGE + RNG.random(IMAGE.shape)).astype(np.float32)

    def spectrum(image: np.ndarray) -> np.ndarray:
        return np.asarray(dct(dct(image / np.linalg.norm(image), axis=0), axis=1))

    expected = mutual_information(spectrum(IMAGE), spectrum(other))
    assert spectral_mutual_information(IMAGE, other) == pytest.approx(expected, rel=1e-6)
    # in float32 a few values change their bin with the scale
    assert spectral_mutual_information(IMAGE, 7 * other) == pytest.approx(expected, rel=1e-3)
