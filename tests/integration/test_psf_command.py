"""`ssi psf make`, `show` and `beads` as a user calls them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
import zarr

import ssi_pipeline as ssi
from ssi_pipeline.cli import main
from ssi_pipeline.config import load_config
from ssi_pipeline.physics.psf_loader import load_psf
from ssi_pipeline.run.prepare import prepare

OPTICS = ["--na", "0.8", "--wavelength-um", "0.52", "--immersion", "air"]
VOXEL = ["--voxel-size-um", "0.6,0.2,0.2"]


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(a) for a in ("psf", *arguments)]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(a) for a in ("psf", *arguments)]) != 0
    return capsys.readouterr().err


def documented(command: str) -> set[str]:
    """Keys of a document as docs/command-line.md has them."""
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
    (section,) = re.findall(rf"^### {command}\n(.*?)(?=^### )", page, re.MULTILINE | re.DOTALL)
    return set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))


def run_file(folder: Path, **psf: Any) -> Path:
    image = np.random.default_rng(0).poisson(100, (12, 64, 64)).astype(np.uint16)
    sizes = {"PhysicalSizeZ": 0.6, "PhysicalSizeY": 0.2, "PhysicalSizeX": 0.2}
    tifffile.imwrite(folder / "image.tif", image, ome=True, metadata={"axes": "ZYX", **sizes})
    document = {
        "input": {"path": "image.tif"},
        "output": {"path": "out.zarr"},
        "psf": psf,
        "tiling": {"dimensions": 3},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(document))
    return folder / "run.yaml"


KINDS: dict[str, dict[str, Any]] = {
    "gaussian": {"fwhm_um": {"z": 1.5, "y": 0.5, "x": 0.5}},
    "widefield": {},
    "gibson_lanni": {"depth_um": 2.0},
    "confocal": {"excitation_wavelength_um": 0.488, "pinhole_au": 0.7},
    "light_sheet": {"sheet_fwhm_um": 2.0},
    "two_photon": {"excitation_wavelength_um": 0.92},
}


@pytest.mark.parametrize(
    ("kind", "suffix"), [*((kind, "tif") for kind in KINDS), ("widefield", "zarr"), ("widefield", "npy")]
)
def test_a_file_of_every_kind_is_the_psf_that_was_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, suffix: str
) -> None:
    path = tmp_path / f"psf.{suffix}"
    optics = [] if kind == "gaussian" else OPTICS
    if kind == "two_photon":
        optics = ["--na", "0.8", "--immersion", "water"]
    changes = [f"--set=psf.{key}={value}" for key, value in KINDS[kind].items()]
    made = json.loads(said(capsys, "make", path, "--kind", kind, *optics, *VOXEL, *changes, "--json"))["psfs"][0]
    given = [] if suffix != "npy" else VOXEL
    center = ["--set=psf.center=middle"]  # the focus of gibson_lanni is displaced
    shown = json.loads(said(capsys, "show", path, *given, *center, "--json"))["psfs"][0]
    assert shown["voxel_size_um"] == [0.6, 0.2, 0.2]
    assert shown["shape"] == made["shape"]  # equal sides are cropped in the same order, whatever rounding says
    for axis in "zyx":
        assert shown["fwhm_um"][axis] == pytest.approx(made["fwhm_um"][axis], rel=1e-4)


def test_what_is_shown_of_a_configuration_is_what_a_run_uses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    optics = {
        "kind": "two_photon",
        "numerical_aperture": 0.8,
        "excitation_wavelength_um": 0.9,
        "refractive_index": 1.33,
    }
    path = run_file(tmp_path, **optics)
    used = prepare(load_config(path)).psfs[0]
    assert used is not None
    (shown,) = json.loads(said(capsys, "show", path, "--json"))["psfs"]
    assert shown["digest"] == used.digest
    assert set(shown) | {"format", "psfs"} == documented("psf make, psf show")
    assert 0.995 <= shown["energy"] < 1
    assert shown["whole_shape"] > shown["shape"]
    several = "--set=psf=[{kind: identity}, {kind: gaussian, fwhm_px: {z: 3, y: 3, x: 3}}]"
    assert "by its number in --channel" in refused(
        capsys, "make", tmp_path / "no.tif", "--config", path, several, "--channel", 0
    )
    said(capsys, "make", tmp_path / "psf.tif", "--config", path, "--channel", 0)
    same = load_psf(ssi.psf.measured(tmp_path / "psf.tif"), used.voxel_size_um, 3)
    assert same is not None
    np.testing.assert_allclose(same.values, used.values, rtol=1e-5, atol=1e-9)


def test_pictures_and_pages_hold_all_they_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run_file(tmp_path, kind="gaussian", fwhm_px={"z": 3, "y": 3, "x": 3})
    for _ in range(2):  # again: what we wrote is replaced
        told = said(capsys, "show", path, "--html", tmp_path / "psf.html", "--png", tmp_path / "psf.png")
    assert re.search(r"FWHM +z 3\.\d+, y 3\.\d+, x 3\.\d+ pixels", told)
    page = (tmp_path / "psf.html").read_text()
    assert "<svg" in page
    assert not re.search(r'(src|href)="http', page)
    assert (tmp_path / "psf.png").read_bytes().startswith(b"\x89PNG")


def test_beads_become_a_psf_that_a_run_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    image = np.full((64, 64 * 6), 100.0)
    y, x = np.ogrid[:64, : 64 * 6]
    for i in range(6):
        cy, cx = 32 + rng.uniform(-0.5, 0.5), 32 + 64 * i + rng.uniform(-0.5, 0.5)
        image += 2000 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 1.5**2))
    tifffile.imwrite(tmp_path / "beads.tif", rng.poisson(image).astype(np.uint16))
    out, page = tmp_path / "psf.tif", tmp_path / "beads.html"
    told = said(
        capsys, "beads", tmp_path / "beads.tif", "--out", out, "--html", page, "--voxel-size-um", "0.1,0.1", "--radial"
    )
    assert "6 found, 6 used" in told
    again = json.loads(said(capsys, "beads", tmp_path / "beads.tif", "--out", tmp_path / "again.npy", "--json"))
    assert set(again) == documented("psf beads")
    assert {bead["status"] for bead in again["beads"]} == {"used"}
    assert page.read_text().count("data:image/png;base64") >= 6
    psf = load_psf(ssi.psf.measured(out), (1.0, 0.1, 0.1), 2)
    assert psf is not None
    (shown,) = json.loads(said(capsys, "show", out, "--json"))["psfs"]
    assert shown["fwhm_px"]["x"] == pytest.approx(1.5 * 2.3548, rel=0.03)
    assert shown["voxel_size_um"][1:] == [0.1, 0.1]


def test_it_refuses_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = tmp_path / "mine.tif"
    foreign.write_bytes(b"data")
    make = ("--kind", "widefield", *OPTICS, *VOXEL)
    assert "was not written by ssi" in refused(capsys, "make", foreign, *make)
    assert foreign.read_bytes() == b"data"
    assert "expected a name that ends in .tif" in refused(capsys, "make", tmp_path / "psf.png", *make)
    assert "expected --config run.yaml, or --kind" in refused(
        capsys, "make", tmp_path / "psf.tif", "--kind", "widefield"
    )
    assert "smaller aperture" in refused(
        capsys, "make", tmp_path / "psf.tif", *make, "--set=psf.numerical_aperture=1.2"
    )
    two = ("--kind", "two_photon", *OPTICS, *VOXEL)
    assert "did you mean 'excitation_wavelength_um'" in refused(capsys, "make", tmp_path / "psf.tif", *two)
    assert "there is no PSF" in refused(capsys, "show", run_file(tmp_path, kind="identity"))
    assert "not found" in refused(capsys, "show", tmp_path / "absent.tif")
    zarr.save_array(tmp_path / "psf.zarr", np.ones((2, 3, 3, 3)))
    assert "4 dimensions" in refused(capsys, "show", tmp_path / "psf.zarr")


def test_a_first_configuration_asks_for_what_the_kind_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_file(tmp_path, kind="identity")
    for kind, asked in (("confocal", "pinhole_au"), ("light_sheet", "sheet_fwhm_um")):
        path = tmp_path / f"{kind}.yaml"
        assert main(["init", str(path), "--input", str(tmp_path / "image.tif"), "--psf", kind, *OPTICS]) == 0
        assert f"psf.{asked}" in capsys.readouterr().out
        assert "wavelength_um: 0.52" in path.read_text()
    two = ["init", str(tmp_path / "two.yaml"), "--psf", "two_photon", "--wavelength-um", "0.52"]
    assert main(two) == 2
    assert "the emission does not matter" in capsys.readouterr().err
