"""Optical parameters from the spectrum of an image: told where it can tell them, and not where it cannot."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from ssi_pipeline.cli import main
from ssi_pipeline.config import load_config, parse_config
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.physics.psf_loader import load_psf
from ssi_pipeline.workbench.fit import search
from ssi_pipeline.workbench.fit.data import FitData, Plane, by_contrast, windows_of
from ssi_pipeline.workbench.fit.fit import PsfFit, fit_data
from ssi_pipeline.workbench.fit.parameters import parameter_of
from ssi_pipeline.workbench.fit.spectrum import SIDE, Rings, boxes_of

VOXEL = (1.0, 0.2, 0.2)
WATER = {"kind": "widefield", "numerical_aperture": 0.8, "wavelength_um": 0.52, "refractive_index": 1.33}
GAUSSIAN = {"kind": "gaussian", "fwhm_px": {"y": 4.0, "x": 4.0}}
SIGMA = 4.0


def section(psf: dict[str, Any]) -> Any:
    return parse_config({"input": {"path": "in"}, "output": {"path": "out"}, "psf": psf}).psf[0]


def measured(psf: dict[str, Any], side: int = 128, light: float = 1.0) -> NDArray[np.float64]:
    """Squares of all sizes and points, blurred, on noise of one variance."""
    rng = np.random.default_rng(0)
    scene = np.zeros((side + 64, side + 64))
    for _ in range(side):
        (y, x), (h, w) = rng.integers(0, side + 60, 2), rng.integers(1, 40, 2)
        scene[y : y + h, x : x + w] += rng.uniform(-60, 120)
    kernel = load_psf(section({**psf, "energy": 0.999}), VOXEL, 2)
    assert kernel is not None
    blurred = fftconvolve(scene, kernel.values[0], mode="same")[32:-32, 32:-32]
    return np.asarray(500 + light * blurred + SIGMA * rng.standard_normal(blurred.shape))


def spectra(image: NDArray[np.float64]) -> FitData:
    rings = Rings(SIDE)
    power = np.array([rings.power(image[box]) for box in boxes_of((image.shape[0], image.shape[1]), SIDE)])
    samples = by_contrast(rings, power, np.full(len(power), SIGMA**2))
    return FitData(rings, samples, VOXEL, (1, *image.shape), lambda _: False)


def fitted(image: NDArray[np.float64], psf: dict[str, Any], free: str) -> PsfFit:
    return fit_data(spectra(image), parameter_of(section(psf), free, None, 2), 0, lambda _: None)


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A coarse grid, for the sake of time; the long form has that of the command."""
    if request.node.get_closest_marker("long") is None:
        monkeypatch.setattr(search, "_POINTS", 9)
        monkeypatch.setattr(search, "_ROUNDS", 1)


def test_white_noise_has_its_variance_in_every_ring_and_leakage_keeps_power() -> None:
    rings = Rings(32)
    rng = np.random.default_rng(0)
    power = np.mean([rings.power(3 * rng.standard_normal((32, 32))) for _ in range(200)], axis=0)
    assert power[rings.used] == pytest.approx(np.full(rings.used.sum(), 9.0), rel=0.25)  # 5 modes x 200: 3 %, 8 s
    assert rings.leakage.sum(1) == pytest.approx(np.ones(len(rings.leakage)))
    assert float(rings.modes.sum()) == pytest.approx(32 * 32 / 2)


def test_windows_of_samples_that_overlap_are_taken_once() -> None:
    image = np.random.default_rng(0).standard_normal((96, 256)).astype(np.float32)
    planes = [Plane(part, part, np.ones(part.shape, bool), (7, x)) for x in (5, 50) for part in [image[:, x : x + 200]]]
    windows = {window.tobytes() for window in windows_of(planes, 64)}
    assert windows == {image[y : y + 64, x : x + 64].tobytes() for y in (0, 32) for x in range(5, 256 - 64 - 5, 32)}


@pytest.mark.long
def test_the_defocus_is_told_within_10_percent_from_a_wrong_one() -> None:
    found = fitted(measured({**WATER, "defocus_um": 2.5}, 160, light=5), {**WATER, "defocus_um": 1.5}, "defocus")
    assert found.told, found.reason
    assert found.verdict.best == pytest.approx(2.5, rel=0.1)
    assert found.verdict.low <= 2.5 <= found.verdict.high


def test_an_aperture_in_focus_is_not_told_but_not_taken_for_much_smaller() -> None:
    """A smoother scene with a sharper PSF has the same spectrum: no value, and nothing much blunter is as good."""
    found = fitted(measured(WATER), WATER, "na")
    assert not found.told
    assert 0.5 < found.verdict.low < 0.85


def test_noise_alone_tells_nothing() -> None:
    image = 500 + SIGMA * np.random.default_rng(0).standard_normal((128, 128))
    assert not fitted(image, WATER, "defocus").told


@pytest.mark.parametrize(
    ("psf", "free", "asked", "dimensions", "message"),
    [
        ({"kind": "identity"}, "na", None, 2, "identity cannot be fitted to an image: expected widefield or"),
        ({"kind": "file", "path": "psf.tif"}, "na", None, 2, "file cannot be fitted"),
        (GAUSSIAN, "fwhm", None, 2, "does not tell it: .*measure beads"),
        (WATER, "depth", None, 2, "does not tell it: .*the defocus"),
        (WATER, "defocus,na", None, 2, "--free defocus,na: expected one of defocus, na"),
        (WATER, "na", None, 3, "expected a fit to planes"),
        (WATER, "na", (0.5, 1.4), 2, "expected a smaller aperture"),
        (WATER, "na", (0.9, 0.5), 2, "expected low < high"),
        (WATER, "na", (0.5, float("nan")), 2, "expected low < high"),
        (WATER, "defocus", (-1, 1), 2, "on one side of 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    psf: dict[str, Any], free: str, asked: tuple[float, float] | None, dimensions: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        parameter_of(section(psf), free, asked, dimensions)


def test_ranges_are_derived() -> None:
    defocus = parameter_of(section({**WATER, "defocus_um": -3.0}), "defocus", None, 2)
    assert (defocus.low, defocus.high) == (-6.0, 0.0)
    assert parameter_of(section({**WATER, "numerical_aperture": 1.2}), "na", None, 2).high < 1.33


def test_the_command_writes_a_configuration_beside_the_given_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(tmp_path / "image.tif", measured({**WATER, "defocus_um": 2.5}).astype(np.uint16))
    document = {
        "input": {"path": "image.tif", "voxel_size_um": {"y": 0.2, "x": 0.2}},
        "output": {"path": "out.zarr"},
        "psf": {**WATER, "defocus_um": 1.5},
        "tiling": {"dimensions": 2},
    }
    config, out, png = tmp_path / "run.yaml", tmp_path / "fitted.yaml", tmp_path / "fit.png"
    config.write_text(yaml.safe_dump(document))
    before = config.read_bytes()
    command = ["psf", "fit", str(config), "--free", "defocus", "--range", "2", "3", "--json"]
    assert main([*command, "--out", str(out), "--png", str(png), "--html", str(tmp_path / "fit.html")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["told"]
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text().partition("### psf fit\n")[2]
    assert set(found) == set(re.findall(r"^\| `([^`]+)` \|", page.partition("\n### ")[0], re.MULTILINE))
    assert found["range"] == [2, 3]
    assert load_config(out).psf[0].defocus_um == pytest.approx(2.5, rel=0.1)  # type: ignore[union-attr]
    assert config.read_bytes() == before
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "defocus_um" in (tmp_path / "fit.html").read_text()
    assert main([*command, "--out", str(config)]) == 2
    assert main([*command, "--free", "depth"]) == 2
    assert main([*command, "--range", "-1", "3"]) == 2
