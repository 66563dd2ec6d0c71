"""The PSF of Gibson and Lanni: agreement with the model without aberrations and with an independent quadrature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.integrate import quad_vec
from scipy.special import j0

from ssi_pipeline.config import GibsonLanniPsf
from ssi_pipeline.errors import InputError
from ssi_pipeline.physics import load_psf
from ssi_pipeline.physics.gibson_lanni import gibson_lanni_intensity
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.physics.pupil import pupil_intensity

OIL: dict[str, Any] = {"numerical_aperture": 1.3, "wavelength_um": 0.5, "support_um": {"z": 1.0, "y": 1.0, "x": 1.0}}
RADIUS = np.linspace(0, 3, 40)


def symmetric(psf: Psf, axis: str) -> bool:
    """Tell whether flipping along an axis changes no value by more than 1e-4 of the peak."""
    return bool(np.abs(psf.values - np.flip(psf.values, "zyx".index(axis))).max() <= 1e-4 * psf.values.max())


def section(**changes: Any) -> GibsonLanniPsf:
    return GibsonLanniPsf(kind="gibson_lanni", **{**OIL, **changes})


@pytest.mark.parametrize("z_um", [0.0, 0.7, -2.0])
def test_without_aberrations_it_is_the_pupil_integral(z_um: float) -> None:
    found = gibson_lanni_intensity(section(), RADIUS, z_um)
    expected = pupil_intensity(RADIUS, 0.5, 1.3, 1.515, z_um)
    # 1000 midpoints there: 1e-5 of the whole
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), atol=2e-5)


def test_it_is_the_integral_of_the_paper() -> None:
    changed = {"depth_um": 8.0, "cover_um": 160.0, "design_cover_index": 1.522, "immersion_index": 1.518}
    k, aperture = 2 * np.pi / 0.5, 1.3 * 60 / np.hypot(60, 1.3)

    def wave(rho: float) -> np.ndarray:
        def axial(index: float) -> float:
            return float(np.sqrt(index**2 - (1.3 * rho) ** 2))

        path = 8 * axial(1.33) + 150.3 * axial(1.518) - 150 * axial(1.515) + 160 * axial(1.515) - 170 * axial(1.522)
        return np.asarray(j0(k * aperture * RADIUS * rho) * np.exp(1j * k * path) * rho)

    found = gibson_lanni_intensity(
        section(**changed, design_immersion_index=1.515, magnification=60, design_cover_um=170.0), RADIUS, 0.3
    )
    expected = np.abs(quad_vec(wave, 0, 1, epsabs=1e-12, limit=5000)[0]) ** 2
    np.testing.assert_allclose(found, expected, atol=1e-9 * expected.max())


@pytest.mark.parametrize(
    "change",
    [
        {"magnification": 4.0},
        {"sample_index": 1.4, "depth_um": 5.0},
        {"immersion_index": 1.52, "design_immersion_index": 1.515},
        {"design_immersion_index": 1.52},
        {"cover_index": 1.53, "design_cover_index": 1.515},
        {"design_cover_index": 1.52},
        {"cover_um": 160.0, "design_cover_um": 170.0},
        {"design_cover_um": 165.0},
        {"working_distance_um": 200.0, "design_immersion_index": 1.52},
        {"depth_um": 10.0},
        {"defocus_um": 0.4},
        {"numerical_aperture": 1.2},
        {"wavelength_um": 0.6},
    ],
    ids=lambda change: ",".join(change),
)
def test_every_option_changes_the_psf(change: dict[str, Any]) -> None:
    before = gibson_lanni_intensity(section(), RADIUS, 0.0)
    after = gibson_lanni_intensity(section(**change), RADIUS, 0.0)
    assert np.abs(after / after.sum() - before / before.sum()).max() > 1e-4


def test_a_sample_that_does_not_match_makes_it_asymmetric_along_z() -> None:
    matched = load_psf(section(energy=1.0), (0.2, 0.1, 0.1), 3)
    deep = load_psf(section(energy=1.0, depth_um=10.0), (0.2, 0.1, 0.1), 3)
    assert matched is not None
    assert deep is not None
    assert matched.radius == (5, 10, 10)
    assert symmetric(matched, "z")
    assert not symmetric(deep, "z")
    assert symmetric(deep, "x")


def test_impossible_values_are_refused() -> None:
    with pytest.raises(ValidationError, match="expected a smaller aperture"):
        section(numerical_aperture=1.6)
    with pytest.raises(InputError, match=r"psf\.kind gibson_lanni needs the voxel size"):
        load_psf(section(), None, 2)
