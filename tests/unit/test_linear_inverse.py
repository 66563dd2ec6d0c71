"""The linear inverse: finite kernel, unit gain, equal in tiles and on the whole, and the choice of its weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from ssi_pipeline.inversion.linear.marginal_likelihood import WEIGHTS, marginal_likelihood_of, maximum_likelihood_weight
from ssi_pipeline.inversion.linear.narrow import is_narrow
from ssi_pipeline.inversion.linear.solution import LinearSolution
from ssi_pipeline.inversion.linear.wiener import LinearFilter, filter_radius, reflect_pad, wiener_kernel
from ssi_pipeline.inversion.surroundings import mirror_outside
from ssi_pipeline.physics.sensor import CensoredSensor
from ssi_pipeline.physics.shift_invariant import ShiftInvariantModel


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


def thin_stack() -> tuple[np.ndarray, np.ndarray, torch.Tensor, torch.Tensor]:
    """Return truth and PSF of six planes out of 30, and their measurement on the domain, with its known pixels."""
    rng = np.random.default_rng(2)
    light = ndimage.gaussian_filter((rng.random((30, 32, 32)) > 0.99).astype(float), 1.5) * 100
    delta = np.zeros((17, 7, 7))
    delta[8, 3, 3] = 1
    psf = ndimage.gaussian_filter(delta, (2.5, 1.2, 1.2), mode="constant")
    psf = (psf / psf.sum()).astype(np.float32)
    y = ndimage.convolve(light, psf, mode="constant")[12:18] + 0.01 * rng.standard_normal((6, 32, 32))
    width = [(8, 8), (3, 3), (3, 3)]
    image, known = np.pad(y.astype(np.float32), width, mode="reflect"), np.pad(np.ones(y.shape, bool), width)
    return light[12:18], psf, torch.from_numpy(image), torch.from_numpy(known)


def test_a_stack_thinner_than_the_psf_is_solved_without_its_mirror() -> None:
    truth, psf, image, known = thin_stack()
    forward = ShiftInvariantModel(psf, CensoredSensor(0.0, 0.01, -np.inf, np.inf))
    linear = LinearSolution(forward, psf, 1e-3, "cpu")

    def error(x: torch.Tensor) -> float:
        return float(np.sqrt(np.mean((forward.crop(x).numpy() - truth) ** 2)))

    assert is_narrow(known, forward.radius)
    assert not is_narrow(torch.ones_like(known), forward.radius)  # a tile inside an image
    mirrored = error(linear(image))
    assert error(linear(image, known)) < 0.7 * mirrored
    assert error(linear(image, known)) < 0.7 * float(np.sqrt(np.mean((forward.crop(image).numpy() - truth) ** 2)))
    # what stands outside is not read
    assert torch.equal(linear(image, known), linear(torch.where(known, image, 1e3), known))


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("weight", [0.01, 1.0])
def test_the_light_outside_is_estimated_where_the_scene_ends_with_the_image(axes: int, weight: float) -> None:
    """Where the scene goes on as its mirror image does, nothing much is lost."""
    rng, n, r = np.random.default_rng(0), 64 if axes == 2 else 20, 5
    scene = ndimage.gaussian_filter(rng.random((n + 6 * r,) * axes), 2.0)
    scene = (scene - scene.min()) / np.ptp(scene) + 0.5
    inside = np.pad(np.ones((n,) * axes, bool), 3 * r)
    psf, domain = gaussian(2.0, axes), (slice(2 * r, 4 * r + n),) * axes
    forward = ShiftInvariantModel(psf, CensoredSensor(0.0, 0.02))
    linear, known = LinearSolution(forward, psf, weight, "cpu"), torch.from_numpy(inside[domain])

    def errors(light: np.ndarray) -> list[float]:
        """Return the mean squared errors on the image, without and with the border."""
        y = ndimage.convolve(light, psf, mode="constant") + 0.02 * rng.standard_normal(light.shape)
        image, truth = (torch.from_numpy(v[domain].astype(np.float32)) for v in (y, light))
        mirrored = mirror_outside(image, ~known)
        found = [linear(mirrored, known), linear(mirrored, known, border=True)]
        return [float((x - truth)[known].square().mean()) for x in found]

    before, after = errors(np.where(inside, scene, 0.0))
    assert after < 0.3 * before
    before, after = errors(scene)
    assert after < 1.3 * before
    everywhere = mirror_outside(torch.from_numpy(scene[domain].astype(np.float32)), ~known)
    assert torch.equal(linear(everywhere, torch.ones_like(known), border=True), linear(everywhere))


def test_the_likelihood_knows_a_psf_larger_than_the_sample() -> None:
    """Its transfer function on the sample's grid is that of the whole PSF, not of a part of it."""
    _, psf, image, _ = thin_stack()
    inside = image[8:-8, 3:-3, 3:-3].numpy()
    wrapped = np.zeros((6, 32, 32))
    np.add.at(wrapped, tuple(np.meshgrid(*(np.arange(n) % m for n, m in zip(psf.shape, wrapped.shape, strict=True)),
                                         indexing="ij")), psf)  # fmt: skip
    np.testing.assert_allclose(marginal_likelihood_of(inside, psf), marginal_likelihood_of(inside, wrapped))
    assert maximum_likelihood_weight(marginal_likelihood_of(inside, psf)) < 1
