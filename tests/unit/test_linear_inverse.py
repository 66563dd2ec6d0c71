"""The linear inverse: finite kernel, unit gain, equal in tiles and on the whole, and the choice of its weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from ssi_pipeline.inversion.linear.marginal_likelihood import WEIGHTS, marginal_likelihood_of, maximum_likelihood_weight
from ssi_pipeline.inversion.linear.wiener import LinearFilter, filter_radius, reflect_pad, wiener_kernel


def gaussian(sigma: float, axes: int, half: int = 5) -> np.ndarray:
    delta = np.zeros((2 * half + 1,) * axes)
    delta[(half,) * axes] = 1
    psf = ndimage.gaussian_filter(delta, sigma, mode="constant")
    return (psf / psf.sum()).astype(np.float32)


@pytest.mark.parametrize("axes", [2, 3])
def test_the_kernel_is_finite_with_unit_gain(axes: int) -> None:
    kernel = wiener_kernel(gaussian(1.5, axes), 0.1, (8,) * axes)
    assert kernel.shape == (17,) * axes
    assert kernel.sum() == pytest.approx(1)
    assert np.abs(kernel[0]).max() < 0.01 * kernel.max()


def test_the_filter_inverts_the_blur_when_there_is_no_noise() -> None:
    rng = np.random.default_rng(0)
    x = ndimage.gaussian_filter(rng.random((80, 80)), 2).astype(np.float32)
    psf = gaussian(1.2, 2)
    y = ndimage.convolve(x, psf, mode="reflect").astype(np.float32)
    w = LinearFilter(wiener_kernel(psf, 1e-5, (20, 20)))(torch.from_numpy(y)).numpy()
    inner = (slice(20, -20),) * 2
    assert np.std(w[inner] - x[inner]) < 0.05 * np.std(y[inner] - x[inner])


def test_tiles_equal_the_whole() -> None:
    image = torch.randn(90, 100, generator=torch.Generator().manual_seed(0))
    wiener = LinearFilter(wiener_kernel(gaussian(1.5, 2), 0.01, (15, 15)))
    whole, tile = wiener(image), wiener(image[20:80, 30:90])
    # float32 FFTs of different sizes: a few parts in 10^7 of the largest values
    torch.testing.assert_close(tile[15:-15, 15:-15], whole[35:65, 45:75], rtol=0, atol=2e-5)


def test_a_larger_weight_is_smoother() -> None:
    image = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    spread = [float(LinearFilter(wiener_kernel(gaussian(1.5, 2), w, (16, 16)))(image).std()) for w in (1e-2, 1.0, 1e2)]
    assert spread[0] > spread[1] > spread[2]


def test_reflection_reaches_further_than_the_image() -> None:
    image = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(
        reflect_pad(torch.from_numpy(image), (3, 4)).numpy(), np.pad(image, [(3, 3), (4, 4)], mode="reflect")
    )


def test_without_blur_the_filter_smooths_in_a_small_radius() -> None:
    assert filter_radius(np.ones((1, 1))) == (8, 8)
    assert filter_radius(np.ones((1, 1, 1))) == (8, 8, 8)
    assert filter_radius(np.ones((1, 5, 5)))[0] == 0


@pytest.mark.parametrize("axes", [2, 3])
def test_the_maximum_likelihood_weight_grows_with_the_noise_and_is_near_the_best(axes: int) -> None:
    rng = np.random.default_rng(0)
    shape = (96, 96) if axes == 2 else (24, 40, 40)
    x = ndimage.gaussian_filter(rng.random(shape) < 0.02, 1.5, output=np.float64)
    x /= x.max()
    psf = gaussian(1.5, axes)
    weights = []
    for sigma in (0.01, 0.1):
        y = ndimage.convolve(x, psf.astype(np.float64), mode="reflect") + sigma * rng.standard_normal(shape)
        weight = maximum_likelihood_weight(marginal_likelihood_of(y, psf))
        weights.append(weight)

        def error(w: float, y: np.ndarray = y) -> float:
            kernel = wiener_kernel(psf, w, (15,) * axes)
            return float(np.mean((LinearFilter(kernel)(torch.from_numpy(y.astype(np.float32))).numpy() - x) ** 2))

        assert error(weight) < 2 * min(error(w) for w in WEIGHTS[::3])
    assert weights[0] < weights[1]


def test_a_sample_that_is_too_small_has_no_likelihood() -> None:
    assert not marginal_likelihood_of(np.ones((3, 3)), gaussian(1.5, 2)).any()
    assert maximum_likelihood_weight(np.zeros(len(WEIGHTS))) == 1.0
