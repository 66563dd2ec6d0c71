"""The Wiener solver: agreement with scikit-image in the interior, and with closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from classical_cases import blobs, gaussian_psf, measured, problem_for
from scipy import fft
from skimage.restoration import wiener

from ssi_pipeline.inversion.classical.wiener import solve_wiener
from ssi_pipeline.inversion.linear.wiener import filter_radius

WEIGHT = 0.1


@pytest.mark.parametrize("axes", [2, 3])
def test_it_agrees_with_scikit_image_in_the_interior(axes: int) -> None:
    psf = gaussian_psf(axes, sigma=0.8, skew=0.5)
    kernel = (psf.values if axes == 3 else psf.values[0]).astype(np.float64)
    y = measured(blobs((80, 90) if axes == 2 else (40, 64, 60)), psf).astype(np.float64)
    expected = wiener(y, kernel, WEIGHT, clip=False)
    point = np.zeros_like(y)
    point[tuple(n // 2 for n in y.shape)] = 1
    response = wiener(point, kernel, WEIGHT, clip=False)
    radius = filter_radius(kernel)
    whole = tuple(slice(n // 2 - 2 * r // 3, n // 2 + 2 * r // 3 + 1) for n, r in zip(y.shape, radius, strict=True))
    # ours is tapered beyond two thirds of its radius, and then brought back to a sum of 1
    lost = np.abs(response).sum() - np.abs(response[whole]).sum()
    assert lost < 0.05
    inner = tuple(slice(r, -r) for r in radius)
    found = solve_wiener(*problem_for("wiener", psf, y), WEIGHT).numpy()
    np.testing.assert_allclose(found[inner], expected[inner], atol=2 * lost * np.abs(y).max() + 1e-5)


def test_a_standing_wave_is_scaled_as_computed_by_hand() -> None:
    """cos(k x) with antinodes at both ends equals its reflection: an eigenfunction."""
    psf = gaussian_psf(sigma=0.8)
    n, periods = 61, 6
    k = np.pi * periods / (n - 1)
    y = np.broadcast_to(0.5 + 0.3 * np.cos(k * np.arange(n)), (n, n))
    column = psf.values[0].sum(0).astype(np.float64)
    transfer = float((column * np.cos(k * np.arange(-4, 5))).sum())
    gain = transfer / (transfer**2 + WEIGHT * (2 - 2 * np.cos(k)) ** 2)
    found = solve_wiener(*problem_for("wiener", psf, y), WEIGHT).numpy()
    # what the taper cuts off the kernel, as above, of a wave of 0.3
    np.testing.assert_allclose(found, 0.5 + gain * (y - 0.5), atol=0.3 * 0.02)


def test_the_response_to_a_point_has_the_spectrum_of_the_formula() -> None:
    """conj(H) / (|H|^2 + weight |L|^2), except for the taper."""
    psf = gaussian_psf(sigma=0.8)
    y = np.zeros((65, 65), np.float32)
    y[32, 32] = 1
    found = fft.fft2(np.fft.ifftshift(solve_wiener(*problem_for("wiener", psf, y), WEIGHT).numpy().astype(np.float64)))
    grid = np.zeros((65, 65))
    grid[:9, :9] = psf.values[0]
    transfer = fft.fft2(np.roll(grid, (-4, -4), (0, 1)))
    f = 2 - 2 * np.cos(2 * np.pi * fft.fftfreq(65))
    expected = transfer.conj() / (np.abs(transfer) ** 2 + WEIGHT * (f[:, None] + f[None]) ** 2)
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())
