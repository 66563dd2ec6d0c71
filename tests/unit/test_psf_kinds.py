"""Computed PSFs: closed forms of their widths, an independent sum over the pupil, energy, symmetry, refusals."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.optimize import brentq
from scipy.signal import fftconvolve
from scipy.special import j1

import ssi_pipeline as ssi
from ssi_pipeline.config import ComputedPsf
from ssi_pipeline.errors import ConfigError, InputError
from ssi_pipeline.physics.computed import intensity_of
from ssi_pipeline.physics.optics_checks import nyquist_um
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.physics.psf_loader import load_psf
from ssi_pipeline.workbench.transfer import fine_widths, transfer_of

NA, EMISSION, EXCITATION, INDEX = 1.2, 0.52, 0.488, 1.515


def airy(radius_um: Any, wavelength_um: float) -> Any:
    """The Airy pattern, 1 in the middle."""
    v = np.maximum(2 * np.pi * NA / wavelength_um * np.abs(radius_um), 1e-9)
    return (2 * j1(v) / v) ** 2


def half_width(profile: Any) -> float:
    """Full width at half maximum of a symmetric function that falls up to 0.5 um."""
    return 2 * float(brentq(lambda r: profile(r) - 0.5 * profile(0.0), 0, 0.3))


def loaded(section: ComputedPsf, voxel: tuple[float, float, float], dimensions: int, **changes: Any) -> Psf:
    psf = load_psf(section.model_copy(update={"energy": 1.0, **changes}), voxel, dimensions)
    assert psf is not None
    return psf


CASES: dict[str, tuple[ComputedPsf, Any]] = {
    "widefield": (ssi.psf.widefield(NA, EMISSION), lambda r: airy(r, EMISSION)),
    "two_photon": (ssi.psf.two_photon(NA, 0.9), lambda r: airy(r, 0.9) ** 2),
    "point": (ssi.psf.confocal(NA, EMISSION, EXCITATION, 0.0), lambda r: airy(r, EXCITATION) * airy(r, EMISSION)),
    "open": (ssi.psf.confocal(NA, EMISSION, EXCITATION, 10.0), lambda r: airy(r, EXCITATION)),
    "sheet": (ssi.psf.light_sheet(NA, EMISSION, 2.0), lambda r: airy(r, EMISSION)),
}


@pytest.mark.parametrize("name", CASES)
def test_lateral_widths_are_those_of_airy_patterns(name: str) -> None:
    section, profile = CASES[name]
    reach = {"y": 0.4, "x": 0.4}
    psf = loaded(section, (0.2, 0.01, 0.01), 2, support_um=reach)
    # a pixel of 0.01 um adds 1e-4 to the variance; a pinhole of 10 Airy units passes all but 2 % of the light
    assert fine_widths(psf.values)[2] * 0.01 == pytest.approx(half_width(profile), rel=0.01)
    if name == "widefield":
        assert half_width(profile) == pytest.approx(0.5145 * EMISSION / NA, rel=1e-3)


def test_axial_widths_are_those_of_the_paraxial_pupil() -> None:
    """In a low aperture the level on the axis is sinc^2 of NA^2 z / (2 wavelength n): 1.772 n wavelength / NA^2."""
    reach = {"z": 60.0, "y": 0.5, "x": 0.5}
    given = {"refractive_index": 1.0, "support_um": reach}
    for section, power, wavelength in (
        (ssi.psf.widefield(0.15, 0.5, **given), 1, 0.5),
        (ssi.psf.two_photon(0.15, 0.9, **given), 2, 0.9),
    ):
        level = brentq(lambda u, p=power: np.sinc(u) ** (2 * p) - 0.5, 0.01, 0.9)
        psf = loaded(section, (1.0, 0.5, 0.5), 3)
        assert fine_widths(psf.values)[0] == pytest.approx(2 * level * 2 * wavelength / 0.15**2, rel=0.01)


def test_planes_are_those_of_a_sum_over_a_square_grid_of_the_pupil() -> None:
    """Independent of the radial integral: plane waves on a Cartesian grid, in and out of focus."""
    n = 400
    axis = (np.arange(n) + 0.5) / n * 2 - 1
    px, py = np.meshgrid(axis, axis)
    inside = np.hypot(px, py) < 1
    px, py = px[inside] * NA, py[inside] * NA
    radius = np.linspace(0, 0.8, 12)
    cosine = np.sqrt(INDEX**2 - px**2 - py**2)

    def waves(wavelength: float, z: float) -> Any:
        phase = 2j * np.pi / wavelength
        return np.array([abs(np.exp(phase * (px * r + z * cosine)).sum()) ** 2 for r in radius])

    for z in (0.0, 0.5):
        detected, excited = waves(EMISSION, z), waves(EXCITATION, z)
        for name, expected in (
            ("widefield", detected),
            ("point", detected * excited),
            ("two_photon", waves(0.9, z) ** 2),
            ("sheet", detected * 0.5 ** ((2 * z / 2.0) ** 2)),
        ):
            intensity = intensity_of(CASES[name][0])
            found = intensity(radius, z) / intensity(np.zeros(1), 0.0)
            focus = {"widefield": 1, "point": 2, "two_photon": 2, "sheet": 1}[name]
            # the steps of the grid at the edge of the pupil
            np.testing.assert_allclose(found, expected / float(inside.sum()) ** (2 * focus), atol=2e-3)


def test_the_pinhole_is_a_convolution_with_its_image() -> None:
    step, side = 0.005, 401
    at = (np.arange(side) - side // 2) * step
    distance = np.hypot(at[:, None], at)
    diameter = 1.22 * EMISSION / NA * 0.8
    disc = np.clip((diameter / 2 - distance) / step + 0.5, 0, 1)
    expected = fftconvolve(airy(distance, EMISSION), disc, mode="same") * airy(distance, EXCITATION)
    line = slice(side // 2, side // 2 + 120)
    found = intensity_of(ssi.psf.confocal(NA, EMISSION, EXCITATION, 0.8))(at[line], 0.0)
    np.testing.assert_allclose(found / found[0], (expected / expected.max())[side // 2, line], atol=2e-3)


def test_a_larger_pinhole_is_wider_and_a_thicker_sheet_deeper() -> None:
    voxel, reach = (0.1, 0.05, 0.05), {"z": 1.5, "y": 0.6, "x": 0.6}
    widths = [
        fine_widths(loaded(ssi.psf.confocal(NA, EMISSION, EXCITATION, p), voxel, 3, support_um=reach).values)
        for p in (0.0, 0.5, 1.0, 3.0)
    ]
    assert all(a[axis] < b[axis] for a, b in pairwise(widths) for axis in (0, 2))
    sheets = [loaded(ssi.psf.light_sheet(NA, EMISSION, w), voxel, 3, support_um=reach) for w in (0.3, 1.0, 500.0)]
    wide = loaded(ssi.psf.widefield(NA, EMISSION), voxel, 3, support_um=reach)
    depth = [fine_widths(psf.values)[0] for psf in (*sheets, wide)]
    assert depth[0] < depth[1] < depth[2]
    assert depth[2] == pytest.approx(depth[3], rel=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_energy_is_one_and_a_psf_is_symmetric(name: str) -> None:
    reach = {"z": 0.8, "y": 0.5, "x": 0.5}
    psf = loaded(CASES[name][0], (0.2, 0.1, 0.1), 3, support_um=reach)
    assert psf.values.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    assert psf.values.min() >= 0
    for axis in range(3):
        np.testing.assert_allclose(psf.values, np.flip(psf.values, axis), atol=1e-6)
    np.testing.assert_allclose(psf.values, psf.values.transpose(0, 2, 1), atol=1e-6)


def test_a_voxel_is_the_sum_of_the_smaller_ones_in_it() -> None:
    """In z as well: a step of 0.45 um is most of the width."""
    section = ssi.psf.two_photon(NA, 0.9)
    fine = loaded(section, (0.05, 0.05, 0.05), 3, support_um={"z": 2.0, "y": 0.95, "x": 0.95}).values
    coarse = loaded(section, (0.45, 0.15, 0.15), 3, support_um={"z": 1.8, "y": 0.9, "x": 0.9}).values
    assert fine.shape == (81, 39, 39)
    sums = fine.astype(np.float64).reshape(9, 9, 13, 3, 13, 3).sum(axis=(1, 3, 5))
    np.testing.assert_allclose(coarse, sums, atol=0.003 * sums.max())


def test_nothing_is_passed_beyond_the_cut_off_of_the_optics() -> None:
    for name in ("widefield", "two_photon", "point"):
        section = CASES[name][0]
        axial, lateral = nyquist_um(section)
        psf = loaded(section, (axial / 2, lateral / 1.5, lateral / 1.5), 3)
        transfer = transfer_of(psf.values, psf.voxel_size_um)
        for axis, limit in ((0, 0.5 / axial), (2, 0.5 / lateral)):
            # 0.4: noise hides what a product of two pupils passes at the end; 1.15: half of the box is tapered
            assert 0.4 * limit < transfer.cutoff(axis) < 1.15 * limit, (name, axis)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ssi.psf.confocal(1.6, 0.52, 0.488), "numerical_aperture is 1.6, refractive_index 1.515"),
        (lambda: ssi.psf.confocal(1.2, 0.52, 0.488, -1.0), "psf.pinhole_au: expected a number of at least 0, found -1"),
        (lambda: ssi.psf.confocal(1.2, 0.52, 0.6), "expected an excitation that is not longer"),
        (lambda: ssi.psf.light_sheet(0.8, 0.52, 0.01), "expected the sheet's thickness in micrometres, at least"),
        (lambda: ssi.psf.two_photon(1.6, 0.9), "expected a smaller aperture"),
    ],
)
def test_optics_that_cannot_be_are_refused(make: Any, message: str) -> None:
    with pytest.raises((ConfigError, ValidationError), match=message):
        make()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (ssi.psf.two_photon(1.0, 0.4), "psf.excitation_wavelength_um is 0.4: expected micrometres, 0.5 to 2"),
        (ssi.psf.confocal(1.0, 520, 488), "520 is probably in nanometres: set psf.wavelength_um: 0.52"),
        (ssi.psf.confocal(1.2, 0.52, 0.488, 0.0), "times the Nyquist sampling of 0.0524 µm"),
    ],
)
def test_wrong_units_and_undersampled_psfs_are_refused(section: ComputedPsf, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_psf(section, (0.2, 0.3, 0.3), 2)
