"""The PSF's width by the power spectrum: one that is too wide is found by every calibration, the right one is not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from ssi_pipeline.quality.psf_width import fit_width

SIGMA = 4 / 2.3548


def gaussian(sigma: float) -> NDArray[np.float32]:
    y, x = np.mgrid[-15:16, -15:16]
    values = np.exp(-0.5 * (y**2 + x**2) / sigma**2)
    return (values / values.sum()).astype(np.float32)


def image(seed: int, peak: float, kind: str) -> NDArray[np.float64]:
    """Counts of cells and points at 90 photons, blurred with a FWHM of 4 pixels: offset 100, read noise, 128 x 128."""
    rng = np.random.default_rng(seed)
    light = np.zeros((160, 160))
    if kind != "points":
        texture = ndimage.gaussian_filter(rng.standard_normal(light.shape), 6)
        light[texture > 0.6 * texture.std()] = 0.5 * peak
    if kind != "cells":
        light[tuple(rng.integers(0, 160, (2, 100)))] += 4 * peak
    photons = ndimage.gaussian_filter(light + 20, SIGMA)[16:-16, 16:-16]
    return 2.17 * (rng.poisson(photons) + 1.5 * rng.standard_normal(photons.shape)) + 100


def windows(y: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    return [y[a : a + 64, b : b + 64] for a in (0, 64) for b in (0, 64)]


@pytest.mark.parametrize("kind", ["cells", "points", "both"])
@pytest.mark.parametrize("peak", [0.5, 90.0, 1000.0])
def test_the_right_width_fits(kind: str, peak: float) -> None:
    for seed in range(2):
        found = fit_width(windows(image(seed, peak, kind)), gaussian(SIGMA))
        assert found is not None
        assert found.factor == 1.0


def test_a_width_that_is_off_by_some_percent_fits() -> None:
    """A PSF integrated over pixels is wider than its samples, by 4 % here; bright points in little noise show it."""
    narrow = 2.5 / 2.3548
    for seed in range(3):
        rng, light = np.random.default_rng(seed), np.zeros((128, 128))
        light[tuple(rng.integers(0, 128, (2, 100)))] = rng.uniform(5e3, 4e4, 100)
        y = rng.poisson(ndimage.gaussian_filter(light, narrow) + 20).astype(np.float64)
        found = fit_width(windows(y), gaussian(float(np.hypot(narrow, 12**-0.5))))
        assert found is not None
        assert found.gain > 12  # seen, and no matter of concern
        assert found.factor == 1.0


@pytest.mark.parametrize(("wider", "most"), [(1.5, 0.8), (2.0, 0.72), (3.0, 0.5)])
def test_a_psf_that_is_too_wide_does_not_fit(wider: float, most: float) -> None:
    for seed in range(3):
        found = fit_width(windows(image(seed, 90.0, "both")), gaussian(wider * SIGMA))
        assert found is not None
        # never narrower than the truth by more than a step of the widths tried
        assert 0.8 / wider <= found.factor <= most


def test_where_the_psf_lies_and_a_pedestal_do_not_matter() -> None:
    y = windows(image(0, 90.0, "both"))
    shifted = np.roll(gaussian(SIGMA), (3, 5), (0, 1)) + 1e-5
    found = fit_width(y, shifted / shifted.sum())
    assert found is not None
    assert found.factor == 1.0


def test_noise_that_neighbours_share_is_not_detail_where_its_spectrum_is_known() -> None:
    y = [ndimage.uniform_filter(window, 2) for window in windows(image(1, 90.0, "both"))]
    box = gaussian(SIGMA)
    psf = ndimage.uniform_filter(box, 2)
    rho = np.zeros((64, 64))
    rho[:2, :2] = 0.25
    power = np.abs(np.fft.fft2(rho)) ** 2
    without, known = fit_width(y, psf), fit_width(y, psf, power)
    assert without is not None
    assert known is not None
    assert without.factor < 1
    assert known.factor == 1.0


def test_windows_that_are_too_small_have_no_result() -> None:
    assert fit_width([image(0, 90.0, "both")[:8, :8]], gaussian(SIGMA)) is None
