"""Impossible runs are refused before anything is written: exit status 2 and a reason."""

from __future__ import annotations

import re
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zarr
from builders import contents, make_run, ramp

from ssi_pipeline.cli import main

IMAGE = ramp((3, 48, 64))


def psf(folder: Path, values: Any, **more: Any) -> dict[str, Any]:
    np.save(folder / "psf.npy", np.asarray(values, np.float32))
    return {"psf": {"kind": "file", "path": "psf.npy", **more}}


def two_runs_one_place(folder: Path) -> dict[str, Any]:
    (folder / "out.zarr").mkdir()
    (folder / "out.zarr" / "precious.txt").write_text("data")
    return {}


def foreign_zarr(folder: Path) -> dict[str, Any]:
    zarr.create_array(folder / "out.zarr", data=IMAGE)
    return {}


def foreign_state(folder: Path) -> dict[str, Any]:
    (folder / "out.zarr.run").mkdir()
    (folder / "out.zarr.run" / "notes.txt").write_text("mine")
    return {}


def unreadable(folder: Path) -> dict[str, Any]:
    (folder / "bad.zarr").mkdir()
    (folder / "bad.zarr" / "zarr.json").write_text("{ not json")
    return {"input": {"path": "bad.zarr"}}


def no_image(folder: Path) -> dict[str, Any]:
    (folder / "notes.txt").write_text("no image")
    return {"input": {"path": "notes.txt"}}


Case = dict[str, Any] | Callable[[Path], dict[str, Any]]

SPOT = np.outer(*[np.exp(-((np.arange(19) - 9.0) ** 2) / 6)] * 2)
SCOPE: dict[str, Any] = {
    "input": {"voxel_size_um": {"z": 1, "y": 0.1, "x": 0.1}},
    "psf": {"kind": "widefield", "numerical_aperture": 1.4, "wavelength_um": 0.461},
}

CASES: dict[str, tuple[Case, tuple[str, ...]]] = {
    "missing input": ({"input": {"path": "nothing.zarr"}}, ("nothing.zarr not found", "input.path")),
    "damaged metadata": (unreadable, ("bad.zarr", "not a readable zarr")),
    "no image at all": (no_image, ("notes.txt", "expected OME-Zarr")),
    "wrong axes": ({"input": {"axes": "czyx"}}, ("input.axes is 'czyx'", "3 dimensions|shape (3, 48, 64)")),
    "axes twice": ({"input": {"axes": "xyzz"}}, ("axes is 'xyzz'", "each once")),
    "axes without y": ({"input": {"axes": "czx"}}, ("axes is 'czx'", "expected y and x")),
    "region beyond the image": ({"input": {"roi": {"x": [0, 65]}}}, ("input.roi.x ends at 65", "64")),
    "PSF of even size": (lambda f: psf(f, np.ones((4, 4))), ("psf", "even|odd")),
    "PSF below zero": (lambda f: psf(f, [[0, 1, 0], [1, 4, -1], [0, 1, 0]]), ("psf", "negative")),
    "PSF of zeros": (lambda f: psf(f, np.zeros((3, 3))), ("psf", "zero|sum|empty|nothing")),
    "PSF as wide as the image": (
        {"psf": {"kind": "gaussian", "fwhm_px": {"y": 25, "x": 25}}},
        ("25.0 pixels along y, the image has 48", "less than half of the image"),
    ),
    "PSF of one pixel": (lambda f: psf(f, [[0, 0, 0], [0, 1, 0], [0, 0, 0]]), ("single pixel", "psf.kind: identity")),
    "PSF that is a box": (lambda f: psf(f, np.full((9, 9), 7)), ("uniform box of 1 x 9 x 9", "falls to 0")),
    "PSF off its centre": (
        lambda f: psf(f, np.roll(SPOT, (-3, 2), (0, 1))),
        (
            "its peak -3, +2 pixels (y, x) and its centroid -3, +2 pixels",
            "Set psf.center: peak, or centroid; or middle",
        ),
    ),
    "PSF in the order of an FFT": (lambda f: psf(f, np.fft.ifftshift(SPOT)), ("in the corner", "psf.center: corner")),
    "PSF on a pedestal": (lambda f: psf(f, SPOT + 0.02), ("constant background", "Set psf.background: border")),
    "wavelength in nanometres": (
        SCOPE | {"psf": SCOPE["psf"] | {"wavelength_um": 461}},
        ("wavelength_um is 461", "probably in nanometres: set psf.wavelength_um: 0.461"),
    ),
    "voxels in nanometres": (
        SCOPE | {"input": {"voxel_size_um": {"z": 1, "y": 130, "x": 130}}},
        ("130 µm along y", "probably in nanometres: set input.voxel_size_um.y: 0.13"),
    ),
    "pixels that are far too large": (
        SCOPE | {"input": {"voxel_size_um": {"z": 1, "y": 1.3, "x": 1.3}}},
        ("15.8 times the Nyquist sampling", "psf.kind: identity"),
    ),
    "PSF of other voxels": (
        lambda f: (
            {"input": {"voxel_size_um": {"z": 1, "y": 0.2, "x": 0.2}}}
            | psf(f, np.ones((3, 3)), voxel_size_um={"y": 0.1, "x": 0.1})
        ),
        ("voxel", "0.1", "0.2", "resample|correct"),
    ),
    "missing PSF": ({"psf": {"kind": "file", "path": "none.tif"}}, ("none.tif", "not found")),
    "output inside input": ({"output": {"path": "in.zarr/out.zarr"}}, ("overlap", "somewhere else")),
    "input inside output": ({"output": {"path": "."}}, ("overlap", "somewhere else")),
    "a folder of somebody else": (two_runs_one_place, ("out.zarr exists", "choose another output.path")),
    "a zarr of somebody else": (foreign_zarr, ("out.zarr exists", "choose another output.path")),
    "a state folder of somebody else": (foreign_state, ("out.zarr.run exists", "choose another output.state")),
    "unknown key": ({"tiling": {"cores": 32}}, ("tiling.cores: unknown key", "did you mean 'core'")),
    "misspelt solver": ({"solver": "winer"}, ("solver: expected", "did you mean 'wiener'")),
    "core of no whole shards": (
        {"tiling": {"core": 32}, "output": {"shard": {"y": 24, "x": 32}}},
        ("tiling.core is 32 along y", "output.shard (24)", "Set tiling.core to 24 or 48"),
    ),
    "no such model": (
        {"solver": "ssi", "training": {"start_from": "none.pt", "scope": "shared"}},
        ("training.start_from", "none.pt"),
    ),
    "PSFs for other channels": (
        {"psf": [{"kind": "identity"}, {"kind": "identity"}]},
        ("psf lists 2", "1 channel", "one for all"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_refused(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    case, words = CASES[name]
    config = make_run(tmp_path, IMAGE)
    sections = case(tmp_path) if callable(case) else case
    document = yaml.safe_load(config.read_text())
    for key, value in sections.items():
        document[key] = {**document.get(key, {}), **value} if isinstance(value, dict) and key != "psf" else value
    config.write_text(yaml.safe_dump(document))
    before = contents(tmp_path)
    for command in ("plan", "run"):
        assert main([command, str(config)]) == 2
        message = capsys.readouterr().err
        assert message.startswith("ssi: ")
        assert "Traceback" not in message
        for word in words:
            assert any(part in message for part in word.split("|")), message
    assert contents(tmp_path) == before


def test_no_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path / "run.yaml")]) == 2
    assert "ssi init" in capsys.readouterr().err


def test_no_run_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path, IMAGE)
    before = contents(tmp_path)
    for command in ("status", "verify"):
        assert main([command, str(config)]) == 2
        assert "start one with `ssi run`" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_too_small_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path, IMAGE)
    before = contents(tmp_path)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 10**6 - 1000, 1000))
    assert main(["run", str(config)]) == 2
    message = capsys.readouterr().err
    assert "are free" in message
    assert "--ignore-disk" in message
    assert contents(tmp_path) == before
    assert main(["run", "--ignore-disk", str(config)]) == 0


@pytest.mark.parametrize("state", [None, "state"])
def test_an_output_that_cannot_be_written(
    tmp_path: Path, state: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """/proc takes no files, not even from root, whatever its permissions say."""
    output = {"path": "/proc/ssi/out.zarr"} | ({"state": str(tmp_path / state)} if state else {})
    config = make_run(tmp_path, IMAGE, output=output)
    before = contents(tmp_path)
    assert main(["run", "--ignore-disk", str(config)]) == 2
    message = capsys.readouterr().err
    assert "/proc" in message
    assert re.search("cannot (create|lock)", message)
    assert contents(tmp_path) == before
