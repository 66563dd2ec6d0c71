"""Beads that another model made: what is found, what is rejected, and widths within 3 % of the truth."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import tifffile
from bead_scenes import Optics, bead_image
from scipy.ndimage import gaussian_filter
from scipy.special import erf

import ssi_pipeline as ssi
from ssi_pipeline.errors import ConfigError, InputError
from ssi_pipeline.physics.computed import intensity_of
from ssi_pipeline.workbench.beads.average import sphere
from ssi_pipeline.workbench.beads.bead import Bead
from ssi_pipeline.workbench.beads.command import measure_file
from ssi_pipeline.workbench.beads.measure import Measured, Request, measure
from ssi_pipeline.workbench.beads.trend import field_dependence

VOXEL = (0.2, 0.1, 0.1)
PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


@lru_cache(maxsize=1)
def aberrated() -> Optics:
    """A water objective 3 um deep in a sample of another index: asymmetric along z."""
    section = ssi.psf.gibson_lanni(1.2, 0.52, sample_index=1.36, immersion_index=1.33, depth_um=3.0)
    return Optics.of(intensity_of(section), 2.6, 5.2)


def places(seed: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Nine places on a grid with a random shift of each, around the middle plane."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(*[np.linspace(n / 6, n * 5 / 6, 3) for n in shape[1:]], indexing="ij")
    z = np.full(9, shape[0] / 2)
    return np.stack([z, y.ravel(), x.ravel()], axis=1) + rng.uniform(-2, 2, (9, 3))


@lru_cache(maxsize=1)
def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Nine good beads and, below them, two in one, a pair, a clipped, a cut and a dim one."""
    shape = (31, 190, 150)
    good = places(seed, (31, 140, 150))
    others = np.array([
        [15, 165.0, 20], [15.5, 167.2, 21.5],  # closer than the width
        [15, 165, 55], [15, 172, 62],  # each in the box of the other
        [15, 165, 90],  # clipped
        [15, 187, 30],  # cut
        [15, 165, 125],  # dim
    ])  # fmt: skip
    photons = np.array([*np.random.default_rng(seed).uniform(1500, 3000, 9), 2000, 1800, 2000, 2000, 9000, 2000, 60])
    image = bead_image(aberrated(), np.vstack([good, others]), shape, VOXEL, photons, 100, seed)
    return np.minimum(image, 4095), good


@lru_cache(maxsize=2)
def measured(seed: int, radial: bool) -> Measured:
    return measure(scene(seed)[0], Request(VOXEL, radial=radial))


def nearest(found: Measured, place: np.ndarray) -> Bead:
    return min(found.beads, key=lambda bead: float(np.abs(np.subtract(bead.centre or bead.peak, place)).max()))


def test_good_beads_are_averaged_and_others_are_rejected_with_a_reason() -> None:
    _, good = scene(0)
    found = measured(0, radial=False)
    for place in good:
        bead = nearest(found, place)
        assert bead.status == "used"
        # shot noise of 2000 photons in a width of 2.3 pixels: 0.02 pixels laterally
        np.testing.assert_allclose(bead.centre, place, atol=0.15)
    for place, statuses in (
        ((15, 166, 20.7), {"differs", "cluster"}),
        ((15, 165, 55), {"cluster"}),
        ((15, 172, 62), {"cluster"}),
        ((15, 165, 90), {"saturated"}),
        ((15, 187, 30), {"cut"}),
        ((15, 165, 125), {"dim"}),
    ):
        assert nearest(found, np.array(place)).status in statuses, place
    assert len(found.used) == 9


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2, 10, 11))])
def test_widths_are_those_of_the_model_that_made_the_beads(seed: int) -> None:
    true = aberrated().fwhm_um(VOXEL)
    for radial in (False, True):
        found = measured(seed, radial)
        assert found.values.sum(dtype=np.float64) == pytest.approx(1, abs=1e-5)
        assert found.values.min() >= 0
        np.testing.assert_allclose(np.array(found.fwhm) * VOXEL, true, rtol=0.03)
        widths = np.median([bead.fwhm for bead in found.used], axis=0) * VOXEL
        np.testing.assert_allclose(widths, true, rtol=0.03)


def test_the_average_is_the_psf() -> None:
    found = measured(0, radial=True).values
    half = (8, 13, 13)  # beads are simulated in a larger box
    found = found[tuple(slice(n // 2 - h, n // 2 + h + 1) for n, h in zip(found.shape, half, strict=True))]
    true = aberrated().voxels((0, 0, 0), VOXEL, [-h for h in half], found.shape)
    true, found = true / true.sum(), found / found.sum()
    # nine beads of about 2000 photons on a background of 100
    assert np.abs(found - true).sum() < 0.12
    np.testing.assert_allclose(found, np.flip(found, 2), atol=1e-3 * found.max())


def spots(sigmas: np.ndarray, seed: int, side: int = 64) -> np.ndarray:
    """A row of beads in one plane, Gaussians integrated over pixels; sigma in pixels, y and x."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side * len(sigmas)), 100.0)
    for i, sigma in enumerate(sigmas):
        lines = []
        for n, start, s in ((side, 0, sigma[0]), (image.shape[1], i * side, sigma[1])):
            edges = np.arange(n + 1) - 0.5 - (start + side / 2 + rng.uniform(-0.5, 0.5))
            lines.append(np.diff(erf(edges / s / np.sqrt(2))) / 2)
        image += 30_000 * lines[0][:, None] * lines[1]
    return rng.poisson(image).astype(np.uint16)


def test_widths_that_change_over_the_field_are_said() -> None:
    row = np.linspace(1.3, 1.8, 16)
    changing = measure(spots(np.stack([np.full(16, 1.4), row], axis=1), 0), Request((0.1, 0.1)))
    widths = [nearest(changing, np.array([32, 32 + 64 * i])).fwhm[1] for i in (1, 14)]
    # a pixel's box adds 1/12 to the variance
    np.testing.assert_allclose(widths, PER_SIGMA * np.sqrt(row[[1, 14]] ** 2 + 1 / 12), rtol=0.03)
    (line,) = field_dependence(changing.used, changing.scene.image.shape, (0.1, 0.1))
    assert line.startswith("the width along x changes along x: 0.3")
    constant = measure(spots(np.full((16, 2), 1.4), 1), Request((0.1, 0.1)))
    (line,) = field_dependence(constant.used, constant.scene.image.shape, (0.1, 0.1))
    assert line.startswith("none")
    assert "not tested" in field_dependence(constant.used[:5], constant.scene.image.shape, None)[0]


def test_the_size_of_beads_is_deconvolved() -> None:
    rng = np.random.default_rng(3)
    voxel, diameter, fwhm = 0.1, 0.3, 0.4
    fine = np.zeros((9 * 60, 9 * 60))  # nine points per pixel
    centres = [(270 + int(rng.integers(-4, 5)), 270 + int(rng.integers(-4, 5))) for _ in range(12)]
    tiles = []
    for y, x in centres:
        tile = np.zeros_like(fine)
        ball = sphere(diameter, (voxel / 9, voxel / 9))
        h = ball.shape[0] // 2
        tile[y - h : y + h + 1, x - h : x + h + 1] = ball
        tile = gaussian_filter(tile, fwhm / PER_SIGMA / voxel * 9)
        tiles.append(tile.reshape(60, 9, 60, 9).sum(axis=(1, 3)))
    image = rng.poisson(100 + 60_000 * np.hstack(tiles)).astype(np.uint16)
    true = np.sqrt(fwhm**2 + PER_SIGMA**2 * voxel**2 / 12)
    plain = np.array(measure(image, Request((voxel, voxel))).fwhm) * voxel
    assert (plain > 1.06 * true).all()
    without = np.array(measure(image, Request((voxel, voxel), bead_um=diameter)).fwhm) * voxel
    np.testing.assert_allclose(without, true, rtol=0.03)
    with pytest.raises(InputError, match="expected a diameter below the width"):
        measure(image, Request((voxel, voxel), bead_um=0.8))


def test_images_without_usable_beads_are_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).poisson(100, (64, 64)).astype(np.uint16)
    with pytest.raises(InputError, match="no beads found"):
        measure(noise, Request())
    with pytest.raises(InputError, match="none of the 1 beads can be used"):
        measure(spots(np.array([[1.4, 1.4]]), 0, side=14), Request())
    path = tmp_path / "beads.tif"
    tifffile.imwrite(path, spots(np.full((6, 2), 1.4), 0))
    with pytest.raises(ConfigError, match="--bead-um needs the voxel size"):
        measure_file(path, 0, None, Request(bead_um=0.1))
    with pytest.raises(ConfigError, match="--channel 1"):
        measure_file(path, 1, None, Request())
    with pytest.raises(ConfigError, match="has 3 numbers: expected 2"):
        measure_file(path, 0, None, Request((0.2, 0.1, 0.1)))
    report = measure_file(path, 0, None, Request())
    assert report.document()["beads"][0]["fwhm_um"] is None
    assert "pixels" in dict(report.rows())["FWHM of beads"]
