"""The published protocol: PSF, noise, and rows that do not depend on anything else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from ssi_pipeline.benchmark.images import find_images, read_truth
from ssi_pipeline.benchmark.methods import METHODS, Degraded
from ssi_pipeline.benchmark.protocol import LEVELS, benchmark_psf, blur, degrade
from ssi_pipeline.benchmark.richardson_lucy import richardson_lucy
from ssi_pipeline.benchmark.rows import measure

SHARED = Path(__file__).parents[3] / "shared" / "benchmark"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the published images do not lie beside the repository")

# PSNR, SSIM in range 2 and 1, MI, SMI of the middle 96 x 96 pixels, by the code that agrees with the published rows
EXPECTED = {
    ("camera.png", "blurry"): (19.5320, 0.7832, 0.7047, 0.2600, 0.1611),
    ("camera.png", "input"): (16.6989, 0.3341, 0.2142, 0.1762, 0.0512),
    ("camera.png", "lr5"): (19.5869, 0.6401, 0.5000, 0.2016, 0.1216),
    ("camera.png", "lr10"): (19.0673, 0.5603, 0.4078, 0.1905, 0.0916),
    ("camera.png", "lr20"): (17.3010, 0.4200, 0.2950, 0.1828, 0.0718),
    ("cell.png", "blurry"): (23.7577, 0.9078, 0.8534, 0.2413, 0.1335),
    ("cell.png", "input"): (18.0643, 0.3453, 0.2263, 0.0842, 0.0519),
    ("cell.png", "lr5"): (22.4505, 0.7964, 0.6894, 0.1589, 0.1115),
    ("cell.png", "lr10"): (20.4511, 0.6362, 0.5027, 0.1201, 0.0480),
    ("cell.png", "lr20"): (17.6481, 0.3914, 0.2772, 0.0874, 0.0475),
}
TOLERANCE = 1e-4
"""Four decimals, and a value of a spectrum that falls into the neighbouring bin of a histogram."""


def row(truth: np.ndarray, method: str) -> list[float]:
    degraded = Degraded.of(truth, benchmark_psf())
    return list(measure(truth, METHODS[method].restore(degraded, 0).estimate).values())


@pytest.mark.parametrize("name", ["camera.png", "cell.png"])
def test_rows_of_scikit_images_own(name: str) -> None:
    path = next(p for p in find_images(None) if p.name == name)
    truth = read_truth(path, 96)
    for (image, method), expected in EXPECTED.items():
        if image == name:
            # cosine transforms of small images lie in few bins: one pixel in another is seen in the fourth decimal
            np.testing.assert_allclose(row(truth, method), expected, atol=5e-4, err_msg=method)


@needs_shared
@pytest.mark.parametrize("name", ["fishembryo700x700", "usaf768x812"])
def test_rows_agree_with_the_published_ones(name: str) -> None:
    expected = json.loads((SHARED / "expected.json").read_text())["images"][name]
    truth = read_truth(SHARED / "images" / f"{name}.png", None)
    for method in ("blurry", "input", "lr5", "lr10", "lr20"):
        np.testing.assert_allclose(row(truth, method), expected[method], atol=TOLERANCE, err_msg=method)


@needs_shared
def test_the_psf_is_the_published_one() -> None:
    np.testing.assert_allclose(benchmark_psf(), np.load(SHARED / "psf.npy"), rtol=0, atol=1e-12)


def test_the_psf_is_a_ring() -> None:
    psf = benchmark_psf()
    assert psf.shape == (17, 17)
    assert psf.sum() == pytest.approx(1)
    np.testing.assert_allclose(psf, psf.T, atol=1e-15)
    np.testing.assert_allclose(psf, psf[::-1], atol=1e-15)
    y, x = np.mgrid[:17, :17] - 8
    assert np.sqrt((psf * (y**2 + x**2)).sum()) == pytest.approx(3.7, abs=0.1)
    # the bright spot on the axis is the greatest value of the published array
    assert psf[8, 8] == psf.max()
    assert psf.max() == pytest.approx(0.0410994, abs=1e-7)


def test_the_noise_is_that_of_the_protocol() -> None:
    plane = np.full((200, 300), 0.5, np.float32)
    counts = degrade(plane, benchmark_psf())
    inner = counts[20:-20, 20:-20] / LEVELS
    assert abs(np.median(inner) - 0.5) < 0.002
    spread = np.subtract(*np.percentile(inner, [84.13, 15.87])) / 2
    assert abs(spread / np.sqrt(0.0105) - 1) < 0.03
    assert (degrade(plane, benchmark_psf()) == counts).all()
    assert counts.min() >= 0
    assert counts.max() <= LEVELS


def test_blur_sees_nothing_outside() -> None:
    truth = np.random.default_rng(2).random((40, 50)).astype(np.float32)
    expected = ndimage.convolve(truth.astype(np.float64), benchmark_psf(), mode="constant")
    np.testing.assert_allclose(blur(truth, benchmark_psf()), expected, atol=1e-6)


def test_richardson_lucy_reflects_in_each_convolution() -> None:
    y = np.random.default_rng(3).random((30, 34))
    psf = benchmark_psf()
    x = np.full_like(y, y.mean())
    found = richardson_lucy(y, psf)
    for _ in range(3):
        ratio = y / ndimage.convolve(x, psf, mode="mirror")
        x = x * ndimage.correlate(ratio, psf, mode="mirror")
        np.testing.assert_allclose(next(found), x, rtol=1e-9)
