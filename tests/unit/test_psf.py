"""PSFs from files and models: centred, cropped, normalised, never flipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from ssi_pipeline.config import FilePsf, GaussianPsf, IdentityPsf, WidefieldPsf
from ssi_pipeline.errors import InputError
from ssi_pipeline.physics import Psf, load_psf
from ssi_pipeline.physics.psf_whole import cropped

RNG = np.random.default_rng(7)


def symmetric(psf: Psf, axis: str) -> bool:
    """Tell whether flipping along an axis changes no value by more than 1e-4 of the peak."""
    return bool(np.abs(psf.values - np.flip(psf.values, "zyx".index(axis))).max() <= 1e-4 * psf.values.max())


def from_array(folder: Path, values: np.ndarray, dimensions: int = 2, voxel=None, **options: Any) -> Psf:
    path = folder / "psf.npy"
    np.save(path, values)
    psf = load_psf(FilePsf(kind="file", path=path, **options), voxel, dimensions)
    assert psf is not None
    return psf


def refused(folder: Path, values: np.ndarray, *says: str, **options: Any) -> None:
    with pytest.raises(InputError) as caught:
        from_array(folder, values, **options)
    for part in says:
        assert part in str(caught.value)


def test_no_blur_is_none():
    assert load_psf(IdentityPsf(kind="identity"), None, 3) is None


def test_values_are_normalised_float32_and_cannot_be_changed(tmp_path):
    psf = from_array(tmp_path, RNG.integers(1, 9, (5, 7), dtype=np.uint16), energy=1.0)
    assert psf.values.dtype == np.float32
    assert psf.values.shape == (1, 5, 7)
    assert psf.radius == (0, 2, 3)
    # the sum of 35 float32 values, each rounded to 6e-8 of itself
    assert psf.values.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        psf.values[0, 0, 0] = 1


def test_orientation_is_kept(tmp_path):
    values = np.zeros((5, 7))
    values[2, 3], values[1, 5] = 3, 1
    psf = from_array(tmp_path, values, energy=1.0)
    # cropped to the smallest symmetric box: 1 row and 2 columns around the middle
    assert psf.values.shape == (1, 3, 5)
    assert psf.values[0, 0, 4] == pytest.approx(0.25)
    assert psf.values[0, 1, 2] == pytest.approx(0.75)
    assert not symmetric(psf, "x")
    assert not symmetric(psf, "y")
    assert symmetric(psf, "z")


def test_off_centre_peak_is_centred_without_losing_light(tmp_path):
    values = np.zeros((6, 9))
    values[1, 2], values[5, 8] = 3, 1
    psf = from_array(tmp_path, values, energy=1.0, center="peak")
    assert psf.radius == (0, 4, 6)
    assert psf.values[0, 4, 6] == pytest.approx(0.75)
    assert psf.values[0, 8, 12] == pytest.approx(0.25)


def test_centroid_differs_from_peak(tmp_path):
    values = np.zeros((5, 5))
    values[2, 1], values[2, 3], values[2, 2] = 5, 4, 1
    peak = from_array(tmp_path, values, center="peak", energy=1.0)
    centroid = from_array(tmp_path, values, center="centroid", energy=1.0)
    assert peak.radius[2] == 2
    assert centroid.radius[2] == 1


def test_even_size_has_no_middle(tmp_path):
    refused(
        tmp_path,
        np.outer(np.hanning(8)[1:-1], np.hanning(7)[1:-1]),
        "6 along y",
        "between two pixels",
        "psf.center: peak",
    )


@pytest.mark.parametrize("energy", [0.6, 0.9, 0.995])
def test_crop_keeps_the_energy_and_no_needless_shell(tmp_path, energy):
    z, y, x = np.ogrid[-6:7, -9:10, -9:10]
    values = np.exp(-(z**2) / 8 - (y**2) / 5 - (x**2) / 5)
    psf = from_array(tmp_path, values, dimensions=3, energy=energy)
    rz, ry, rx = psf.radius

    def share(rz: int, ry: int, rx: int) -> float:
        return values[6 - rz : 7 + rz, 9 - ry : 10 + ry, 9 - rx : 10 + rx].sum() / values.sum()

    assert share(rz, ry, rx) >= energy
    assert all(share(*smaller) < energy for smaller in [(rz - 1, ry, rx), (rz, ry - 1, rx), (rz, ry, rx - 1)])


def test_background_is_subtracted(tmp_path):
    values = np.full((9, 9), 10.0)
    values[4, 4], values[4, 3], values[4, 5], values[0, 0] = 110, 30, 30, 8
    refused(tmp_path, values, "85% of its light is a constant background", "psf.background: border", "or 0")
    for background, centre in {0: 110 / 948, "minimum": 102 / 300, "border": 100 / 140, 20: 90 / 110}.items():
        psf = from_array(tmp_path, values, background=background, energy=1.0)
        assert psf.values.max() == pytest.approx(centre)


def test_the_true_wings_of_a_widefield_psf_are_no_pedestal(tmp_path):
    """Its planes out of focus are filled evenly, and small arrays end near a dark ring."""
    for side, reach in ((0.1, 2.0), (0.04, 0.3)):
        section = WidefieldPsf(
            kind="widefield",
            numerical_aperture=1.3,
            wavelength_um=0.5,
            support_um={"z": 1.0, "y": reach, "x": reach},
            energy=1.0,
        )
        psf = load_psf(section, (0.25, side, side), 3)
        assert psf is not None
        assert from_array(tmp_path, psf.values, 3, energy=1.0).notes == ()


def test_a_centre_off_the_middle_is_said_or_refused_unless_it_is_named(tmp_path):
    spot = np.outer(*[np.exp(-((np.arange(21) - 10.0) ** 2) / 6)] * 2)
    assert from_array(tmp_path, spot).notes == ()
    one = from_array(tmp_path, np.roll(spot, 1, axis=0)).notes
    assert one == (
        "its peak is +1 pixels (y) from the middle of the array and its centroid is +1 pixels (y) from the middle of "
        "the array: the output moves by that",
    )
    aside, middle = np.roll(spot, 3, axis=1), from_array(tmp_path, spot).values
    refused(tmp_path, aside, "+3 pixels (x)", "Set psf.center: peak")
    refused(tmp_path, np.fft.ifftshift(spot), "in the corner", "psf.center: corner")
    assert from_array(tmp_path, aside, center="middle").notes[0].startswith("its peak is +3 pixels (x)")
    for moved, center in ((aside, "peak"), (aside, "centroid"), (np.fft.ifftshift(spot), "corner")):
        psf = from_array(tmp_path, moved, center=center)
        assert psf.notes == ()
        np.testing.assert_allclose(psf.values, middle, atol=1e-6)


def test_the_computed_psf_reaches_as_far_as_its_optics_say_and_not_farther_than_the_stack():
    section = WidefieldPsf(
        kind="widefield", numerical_aperture=1.0, wavelength_um=0.5, refractive_index=1.33, energy=1.0
    )
    for planes, z in ((100, 43), (12, 11)):
        psf = load_psf(section, (0.1, 0.1, 0.1), 3, (planes, 200, 200))
        assert psf is not None
        # 0.5 x 1.33 / (pi / 20) = 4.23 um along z; 0.5 / (0.02 pi^2) = 2.53 um
        assert psf.radius == (z, 26, 26)
    flat = load_psf(section, (0.1, 0.1, 0.1), 2)
    assert flat is not None
    assert flat.radius == (0, 26, 26)


def test_a_psf_of_other_voxels_is_resampled(tmp_path):
    def spot(size: int, pixel: float) -> np.ndarray:
        x = (np.arange(size) - size // 2) * pixel
        return np.exp(-(x[:, None] ** 2 + x**2) / (2 * 0.3**2))

    image = (1.0, 0.2, 0.2)
    for pixel, size in ((0.05, 61), (0.3, 11)):
        psf = from_array(
            tmp_path, spot(size, pixel), voxel=image, voxel_size_um={"y": pixel, "x": pixel}, resample=True, energy=1.0
        )
        assert psf.voxel_size_um == image
        assert psf.values.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
        assert all(symmetric(psf, axis) for axis in ("y", "x"))
        profile = psf.values[0].sum(axis=0, dtype=np.float64)
        variance = (profile * ((np.arange(len(profile)) - psf.radius[2]) * 0.2) ** 2).sum()
        # integration over a pixel of the image adds 1/12 of its square, linear interpolation 1/6 of the file's
        assert variance == pytest.approx(0.3**2 + 0.2**2 / 12 + pixel**2 / 6, rel=0.02)
    refused(tmp_path, spot(11, 0.3), "psf.resample: true", voxel=image, voxel_size_um={"y": 0.3, "x": 0.3})
    refused(tmp_path, spot(11, 0.3), "set psf.voxel_size_um", voxel=image, resample=True)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.array([[0, 1, 0], [1, -2.5, 1], [0, 1, 0]]), ("minimum -2.5", "psf.background")),
        (np.zeros((3, 3)), ("zero everywhere",)),
        (np.array([[0, 1, 0], [1, np.nan, 1], [0, np.inf, 0]]), ("2 values", "NaN or infinite")),
        (np.ones(5), ("1 dimensions", "expected 2")),
        (np.ones((3, 3), dtype=complex), ("integers or floats",)),
    ],
)
def test_unusable_values_are_refused(tmp_path, values, says):
    refused(tmp_path, values, *says)


def test_3d_psf_for_2d_tiles_needs_a_plane(tmp_path):
    values = RNG.random((3, 5, 5))
    refused(tmp_path, values, "index of the plane", "'sum'")
    refused(tmp_path, values, "planes 0 to 2", plane=3)
    one = from_array(tmp_path, values, plane=1, energy=1.0)
    np.testing.assert_allclose(one.values[0], values[1] / values[1].sum(), rtol=1e-6)
    added = from_array(tmp_path, values, plane="sum", energy=1.0)
    np.testing.assert_allclose(added.values[0], values.sum(0) / values.sum(), rtol=1e-6)


def test_inconsistent_plane_and_dimensions_are_refused(tmp_path):
    refused(tmp_path, np.ones((5, 5)), "expected a 3D PSF", dimensions=3)
    refused(tmp_path, np.ones((5, 5)), "leave psf.plane out", plane=0)
    refused(tmp_path, np.ones((3, 5, 5)), "leave psf.plane out", plane="sum", dimensions=3)


def test_voxel_sizes_must_agree_along_the_axes_in_use(tmp_path):
    values, size = np.ones((3, 3, 3)), {"z": 0.5, "y": 0.1, "x": 0.1}
    same = from_array(tmp_path, values, 3, (0.5, 0.1009, 0.1), voxel_size_um=size)
    assert same.voxel_size_um == (0.5, 0.1, 0.1)
    refused(
        tmp_path,
        values,
        "0.5 µm along z",
        "0.3 µm",
        "resample",
        dimensions=3,
        voxel=(0.3, 0.1, 0.1),
        voxel_size_um=size,
    )
    flat = from_array(tmp_path, values, 2, (0.3, 0.1, 0.1), voxel_size_um=size, plane=1)
    assert flat.radius[0] == 0
    assert from_array(tmp_path, values, 3).voxel_size_um is None


def test_voxel_size_of_the_file_is_used(tmp_path):
    path = tmp_path / "psf.tif"
    metadata = {
        "axes": "YX",
        "PhysicalSizeX": 65.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 65.0,
        "PhysicalSizeYUnit": "nm",
    }
    tifffile.imwrite(path, np.ones((3, 3), np.float32), ome=True, metadata=metadata)
    section = FilePsf(kind="file", path=path)
    psf = load_psf(section, (1.0, 0.065, 0.065), 2)
    assert psf is not None
    assert psf.voxel_size_um == pytest.approx((1.0, 0.065, 0.065))
    with pytest.raises(InputError, match=r"0\.065 µm along y, the image 0\.13"):
        load_psf(section, (1.0, 0.13, 0.13), 2)


def test_tiff_and_npy_give_the_same(tmp_path):
    values = RNG.random((3, 5, 5)).astype(np.float32)
    tifffile.imwrite(tmp_path / "psf.tif", values, photometric="minisblack")
    tiff = load_psf(FilePsf(kind="file", path=tmp_path / "psf.tif"), None, 3)
    assert tiff is not None
    assert tiff.digest == from_array(tmp_path, values, 3).digest
    assert len(tiff.digest) == 16
    assert tiff.digest != from_array(tmp_path, values[::-1], 3).digest


def test_files_that_are_no_psf_are_refused(tmp_path):
    for name, content, says in [
        ("absent.tif", None, "not found"),
        ("psf.mat", b"x", r"expected a \.tif"),
        ("broken.tif", b"not a tiff", "not a readable TIFF"),
        ("broken.npy", b"not an array", "cannot be read"),
    ]:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=says):
            load_psf(FilePsf(kind="file", path=tmp_path / name), None, 2)
    tifffile.imwrite(tmp_path / "rgb.tif", np.ones((5, 5, 3), np.uint8), photometric="rgb")
    with pytest.raises(InputError, match="one channel"):
        load_psf(FilePsf(kind="file", path=tmp_path / "rgb.tif"), None, 2)


def gaussian(voxel=None, dimensions=2, **options: Any) -> Psf:
    psf = load_psf(GaussianPsf(kind="gaussian", **options), voxel, dimensions)
    assert psf is not None
    return psf


def test_gaussian_has_the_width_asked_for():
    psf = gaussian(dimensions=3, fwhm_px={"z": 8, "y": 4, "x": 3}, energy=1.0)
    for axis, fwhm in enumerate((8, 4, 3)):
        profile = psf.values.sum(axis=tuple({0, 1, 2} - {axis}), dtype=np.float64)
        positions = np.arange(len(profile)) - psf.radius[axis]
        # integration over a pixel adds its own variance, 1/12; the cut at 4.5 sigma loses less than 1e-3 of it
        assert (profile * positions**2).sum() == pytest.approx((fwhm / 2.3548) ** 2 + 1 / 12, rel=1e-3)
    assert all(symmetric(psf, axis) for axis in ("z", "y", "x"))


def test_gaussian_in_micrometres_follows_the_voxel_size():
    in_pixels = gaussian(fwhm_px={"y": 3, "x": 4})
    in_um = gaussian((1.0, 0.1, 0.2), fwhm_um={"y": 0.3, "x": 0.8})
    np.testing.assert_allclose(in_um.values, in_pixels.values, rtol=1e-5)
    with pytest.raises(InputError, match=r"set input\.voxel_size_um"):
        gaussian(fwhm_um={"y": 0.3, "x": 0.8})


def test_gaussian_needs_a_width_along_each_axis():
    with pytest.raises(InputError, match="lacks z"):
        gaussian(dimensions=3, fwhm_px={"y": 3, "x": 3})
    with pytest.raises(InputError, match=r"psf\.fwhm_px lacks x"):
        gaussian(fwhm_px={"y": 3})


def test_energy_changes_the_radius():
    wide, narrow = (gaussian(fwhm_px={"y": 6, "x": 6}, energy=e) for e in (0.999, 0.9))
    assert wide.radius > narrow.radius


def test_the_computed_widefield_psf_is_that_of_its_objective() -> None:
    section = WidefieldPsf(
        kind="widefield",
        numerical_aperture=0.8,
        wavelength_um=0.6,
        refractive_index=1.33,
        support_um={"z": 3.0, "y": 4.0, "x": 4.0},
        energy=1.0,
    )
    psf = load_psf(section, (1.0, 0.1, 0.1), 3)
    assert psf is not None
    assert psf.radius == (3, 40, 40)
    assert all(symmetric(psf, axis) for axis in ("z", "y", "x"))
    # first dark ring of the Airy disc at 0.61 wavelength / NA = 0.46 um: pixels 4 and 5 of 0.1 um
    profile = psf.values[3, 40, 40:] / psf.values[3, 40, 40]
    assert 4 <= int(np.argmin(profile[:7])) <= 5
    assert profile[:7].min() < 0.02
    # no light is lost out of focus, but for what leaves the support
    planes = psf.values.sum(axis=(1, 2))
    assert planes.max() / planes.min() < 1.1


def test_the_computed_psf_needs_the_voxel_size() -> None:
    section = WidefieldPsf(kind="widefield", numerical_aperture=0.8, wavelength_um=0.6)
    with pytest.raises(InputError, match=r"input\.voxel_size_um"):
        load_psf(section, None, 2)


@pytest.mark.parametrize("energy", [0.9, 0.95, 0.97, 0.98, 0.985, 0.99])
def test_rounding_does_not_say_which_of_two_equal_sides_is_cropped(energy: float) -> None:
    """It did: a PSF written to a file and read again had another shape, on some processors."""
    g, rng = np.exp(-0.5 * (np.arange(-15, 16) / 4) ** 2), np.random.default_rng(0)
    rounded = [(g[:, None] * g * (1 + 1e-7 * rng.standard_normal((31, 31))))[None] for _ in range(20)]
    ((_, y, x),) = {cropped(values, energy).shape for values in rounded}
    assert y in (x, x - 2)  # the first of equal sides is cropped first
