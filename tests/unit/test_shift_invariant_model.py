"""g is a true, valid convolution, followed by the mean of a clipping sensor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import signal

from ssi_pipeline.physics.convolution import Convolution
from ssi_pipeline.physics.sensor import CensoredSensor
from ssi_pipeline.physics.shift_invariant import ShiftInvariantModel


@pytest.mark.parametrize(("kernel", "image"), [((5, 3), (17, 20)), ((3, 5, 7), (9, 12, 19)), ((1, 5, 5), (4, 11, 13))])
def test_convolution_agrees_with_scipy_for_an_off_centre_psf(kernel: tuple[int, ...], image: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    psf = rng.random(kernel).astype(np.float32)
    psf[(0,) * len(kernel)] = 5.0  # nothing symmetric about it
    x = rng.random(image).astype(np.float32)
    found = Convolution(psf)(torch.from_numpy(x)[None])[0].numpy()
    # float32 FFT of sums of about 100 terms of size 1
    np.testing.assert_allclose(found, signal.convolve(x, psf, mode="valid"), rtol=1e-4, atol=1e-4)


def test_a_kernel_of_one_pixel_only_scales() -> None:
    x = torch.rand(2, 6, 7)
    assert torch.equal(Convolution(np.array([[2.0]], dtype=np.float32))(x), 2 * x)


@pytest.mark.parametrize(
    ("kernel", "image"), [((5, 3), (17, 20)), ((3, 5, 7), (9, 12, 19)), ((1, 5, 5), (4, 11, 13)), ((1, 1), (6, 7))]
)
def test_the_adjoint_is_the_transpose_of_the_convolution(kernel: tuple[int, ...], image: tuple[int, ...]) -> None:
    """<g x, y> = <x, g* y> for any x and y, and g* y is scipy's full correlation."""
    rng = np.random.default_rng(0)
    psf = rng.random(kernel).astype(np.float32)
    psf[(0,) * len(kernel)] = 5.0  # nothing symmetric about it
    convolution = Convolution(psf)
    x = torch.from_numpy(rng.standard_normal(image).astype(np.float32))
    predicted = convolution(x)
    y = torch.from_numpy(rng.standard_normal(predicted.shape).astype(np.float32))
    back = convolution.adjoint(y)
    assert back.shape == x.shape
    # float32 FFTs of sums of about 100 terms of size 1; the products differ by rounding that adds up like a random walk
    scale = float(predicted.double().norm() * y.double().norm())
    forth = float((predicted.double() * y.double()).sum())
    assert forth == pytest.approx(float((x.double() * back.double()).sum()), abs=1e-6 * scale)
    expected = signal.correlate(y.numpy().astype(np.float64), psf, mode="full", method="direct")
    np.testing.assert_allclose(back.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_even_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match="odd"):
        Convolution(np.ones((2, 3), dtype=np.float32))


def test_crop_aligns_the_measurement_with_the_prediction() -> None:
    delta = np.zeros((5, 3), dtype=np.float32)
    delta[2, 1] = 1
    model = ShiftInvariantModel(delta, CensoredSensor(0, 0))
    x = torch.rand(1, 12, 9)
    torch.testing.assert_close(model(x), model.crop(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("level", [-0.1, 0.0, 0.05, 0.5, 0.98, 1.2])
def test_the_sensor_predicts_the_mean_of_clipped_noise(level: float) -> None:
    alpha, sigma = 0.01, 0.1
    n = 400_000
    noise = np.random.default_rng(1).standard_normal(n) * np.sqrt(alpha * max(level, 0) + sigma**2)
    expected = np.clip(level + noise, 0, 1).mean()
    found = float(CensoredSensor(alpha, sigma, 0.0, 1.0)(torch.tensor(level)))
    assert found == pytest.approx(expected, abs=5 * 0.15 / np.sqrt(n))  # five standard errors


def test_a_sensor_without_limits_changes_nothing() -> None:
    x = torch.randn(100)
    assert torch.equal(CensoredSensor(0.1, 0.1)(x), x)
