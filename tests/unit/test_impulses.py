"""Impulses are found, and point sources are not impulses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from ssi_pipeline.inversion.sensor.impulses import ImpulseTest, NoiseModel, point_source_kappa, window_quartiles

NOISE = NoiseModel(alpha=0.001, sigma=0.1)


def gaussian(sigma: float) -> np.ndarray:
    r = np.arange(-9, 10)
    g = np.exp(-0.5 * (r / sigma) ** 2)
    psf = np.outer(g, g)
    return (psf / psf.sum()).astype(np.float32)


@pytest.mark.parametrize("shape", [(40, 37), (3, 9, 300), (2, 6, 5)])
def test_quartiles_agree_with_sorting(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    pad = [(0, 0)] * (len(shape) - 2) + [(2, 2), (2, 2)]
    windows = sliding_window_view(np.pad(image, pad, mode="edge"), (5, 5), axis=(-2, -1))
    ordered = np.sort(windows.reshape(*shape, 25), axis=-1)
    for found, rank in zip(window_quartiles(torch.from_numpy(image)), (6, 12, 18), strict=True):
        np.testing.assert_array_equal(found.numpy(), ordered[..., rank])


def test_lone_wild_pixels_are_found_and_replaced() -> None:
    rng = np.random.default_rng(0)
    clean = np.full((100, 100), 0.4, dtype=np.float32)
    image = (clean + 0.1 * rng.standard_normal(clean.shape)).astype(np.float32)
    wild = rng.random(clean.shape) < 0.01
    image[wild] = 1.4
    test = ImpulseTest(NOISE, 3.0, point_source_kappa(gaussian(2)))
    found = test.find(torch.from_numpy(image)).numpy()
    assert found[wild].all()
    assert found[~wild].mean() < 0.01  # 0.0027 of Gaussian noise is beyond three sigma, and the median has noise too
    repaired = test.repair(torch.from_numpy(image)).numpy()
    assert np.abs(repaired[wild] - 0.4).max() < 0.2
    np.testing.assert_array_equal(repaired[~found], image[~found])


def test_impulse_sigma_acts_and_none_switches_off() -> None:
    image = torch.randn(60, 60, generator=torch.Generator().manual_seed(0)) * 0.1
    counts = [int(ImpulseTest(NOISE, k, 1.0).find(image).sum()) for k in (2.0, 3.0, 4.0)]
    assert counts[0] > counts[1] > counts[2]
    assert not ImpulseTest(NOISE, None, 1.0).find(image).any()


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.5])
@pytest.mark.parametrize("brightness", [0.5, 10.0, 1e4])
def test_a_point_source_of_any_brightness_passes(sigma: float, brightness: float) -> None:
    psf = gaussian(sigma)
    image = torch.from_numpy(np.pad(brightness * psf / psf.max(), 8).astype(np.float32))
    test = ImpulseTest(NoiseModel(alpha=0.0, sigma=1e-3), 3.0, point_source_kappa(psf))
    found = test.find(image)
    # positions whose deviation is not significant may fail; there the repair changes next to nothing
    change = (test.repair(image) - image).abs().max()
    assert not found[image > 0.1 * brightness].any()
    assert float(change) <= 0.03 * brightness


def test_the_test_switches_itself_off_where_a_point_source_is_a_lone_pixel() -> None:
    assert math.isinf(point_source_kappa(np.ones((1, 1), dtype=np.float32)))
    narrow = np.zeros((3, 3), dtype=np.float32)
    narrow[1] = (0.02, 0.96, 0.02)
    assert math.isinf(point_source_kappa(narrow))
    image = torch.zeros(9, 9)
    image[4, 4] = 1e6
    assert torch.equal(ImpulseTest(NOISE, 3.0, math.inf).repair(image), image)
