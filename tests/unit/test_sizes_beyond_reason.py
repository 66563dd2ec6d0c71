"""Size limits of images, PSFs, array tasks and output arrays, checked before allocation."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import complete, config_of, level, make_run, ramp

from ssi_pipeline.cli import main
from ssi_pipeline.config import parse_config
from ssi_pipeline.errors import ConfigError, GeometryError, InputError
from ssi_pipeline.geometry import Volume, make_plan
from ssi_pipeline.needs import tiling_request
from ssi_pipeline.physics.psf_loader import load_psf
from ssi_pipeline.run.array.finish import describe_missing
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.parts import MOST_PARTS, parse_part, read_count, save_count
from ssi_pipeline.tasks.opening import open_context


def config(psf: dict[str, Any] | None = None, **sections: Any) -> Any:
    plain = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": psf or {"kind": "identity"}, "solver": "wiener"}
    return parse_config(plain | sections)


@pytest.mark.parametrize(
    ("axes", "shape", "says"),
    [
        ("zyx", (1, 1, 2**62, 2**62, 2**62), "pieces: expected at most 100000000"),
        ("yx", (1, 1, 1, 2**62, 64), "pieces: expected at most 100000000, and 1000000 along an axis"),
        ("tyx", (2**62, 1, 1, 64, 64), "pieces"),
        ("cyx", (1, 2**62, 1, 64, 64), "channels: expected at most 10000"),
    ],
)
def test_an_image_of_no_size_that_there_is_is_refused(axes: str, shape: Any, says: str) -> None:
    started = time.process_time()
    with pytest.raises(GeometryError, match=says):
        make_plan(Volume(axes, shape, "uint16"), tiling_request(config(), (0, 1, 1)), 2**34)
    assert time.process_time() - started < 2


def test_tiles_of_one_pixel_are_refused_where_they_are_too_many() -> None:
    volume = Volume("zyx", (1, 1, 100, 4096, 4096), "uint16")
    with pytest.raises(GeometryError, match=r"tiling\.core \{z: 1, y: 1, x: 1\} divides .* into 1677721600 pieces"):
        make_plan(volume, tiling_request(config(tiling={"core": 1}), (0, 1, 1)), 2**34)
    assert make_plan(volume, tiling_request(config(tiling={"core": 64}), (0, 1, 1)), 2**34).n_tiles == 100 * 64**2


@pytest.mark.parametrize("value", [1e300, 1e308, 5e-324, -1e308, np.inf, np.nan])
@pytest.mark.parametrize("background", ["none", "border"])
def test_a_psf_whose_sum_overflows_is_refused_at_once(tmp_path: Path, value: float, background: str) -> None:
    values = np.zeros((9, 9))
    values[3:6, 3:6] = value
    np.save(tmp_path / "psf.npy", values)
    section = config({"kind": "file", "path": str(tmp_path / "psf.npy"), "background": background}).psf[0]
    with pytest.raises(InputError, match=r"cannot be summed|NaN or infinite"):
        load_psf(section, None, 2)


@pytest.mark.parametrize("value", [1e-30, 1e30])
def test_a_psf_in_any_unit_is_the_same(tmp_path: Path, value: float) -> None:
    loaded = []
    for scale in (1.0, value):
        np.save(tmp_path / "psf.npy", np.outer(np.hanning(9), np.hanning(9)) * scale)
        loaded.append(load_psf(config({"kind": "file", "path": str(tmp_path / "psf.npy")}).psf[0], None, 2))
    assert loaded[0] is not None
    assert loaded[1] is not None
    np.testing.assert_allclose(loaded[0].values, loaded[1].values, rtol=1e-6)


OPTICS = {"numerical_aperture": 1, "wavelength_um": 0.5}


@pytest.mark.parametrize(
    ("psf", "says"),
    [
        ({"kind": "gaussian", "fwhm_px": {"z": 900, "y": 900, "x": 900}}, "psf.fwhm_px makes a PSF of"),
        ({"kind": "gaussian", "fwhm_px": {"z": 2, "y": 1e6, "x": 2}}, "wider than any tile"),
        ({"kind": "gaussian", "fwhm_px": {"z": 2, "y": 1e-5, "x": 2}}, "is no blur"),
        ({"kind": "widefield", "support_um": {"z": 1e5, "y": 1, "x": 1}, **OPTICS}, "psf.support_um makes a PSF of"),
        ({"kind": "gibson_lanni", "support_um": {"z": 9, "y": 90, "x": 90}, **OPTICS}, "psf.support_um makes a PSF of"),
    ],
)
def test_a_psf_that_cannot_be_computed_is_refused_at_once(psf: dict[str, Any], says: str) -> None:
    started = time.process_time()
    with pytest.raises(InputError, match=says):
        load_psf(config(psf).psf[0], (0.1, 0.1, 0.1), 3)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("text", ["1/1000001", "1/100000000000000000000000", "9" * 5000 + "/" + "9" * 5000, "1/1\n"])
def test_parts_without_number_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=f"and n of at most {MOST_PARTS}"):
        parse_part(text)


def test_the_most_parts_are_listed_at_once(tmp_path: Path) -> None:
    path = make_run(tmp_path, ramp((1, 64, 64)))
    complete(path)
    context = open_context(config_of(path))
    save_count(context.paths, MOST_PARTS)
    started = time.process_time()
    lines = describe_missing(context, [0, 3], read_count(context.paths), "ssi run")
    assert time.process_time() - started < 1
    assert len(lines) == 3
    assert lines[0].startswith("part 250000 of 1000000: 1 of 1 tiles pending: `ssi run --part 250000/1000000`")


@pytest.mark.parametrize("text", ["0", "-1", "1" + "0" * 23, "9" * 5000, "two"])
def test_a_number_of_parts_that_was_changed_counts_as_not_known(tmp_path: Path, text: str) -> None:
    """The file is a help for messages alone: a damaged one ends no run."""
    paths = StatePaths(tmp_path)
    (tmp_path / "parts").write_text(text)
    assert read_count(paths) is None


@pytest.mark.parametrize("version", [pytest.param("0.4", marks=pytest.mark.long), "0.5"])
@pytest.mark.parametrize("what", ["shape", "chunks", "dtype"])
def test_an_output_whose_arrays_were_altered_is_named_and_made_as_it_was(
    tmp_path: Path, version: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_run(tmp_path, ramp((2, 64, 96)), output={"ome_zarr": version})
    output = complete(path)
    whole = level(output)
    file = output / "0" / ("zarr.json" if version == "0.5" else ".zarray")
    good = file.read_text()
    document = json.loads(good)
    if what == "shape":
        document["shape"] = [2, 64, 48]
    elif what == "dtype":
        document["data_type" if version == "0.5" else "dtype"] = "int16" if version == "0.5" else "<i2"
    elif version == "0.5":
        document["chunk_grid"]["configuration"]["chunk_shape"] = [1, 64, 32]
    else:
        document["chunks"] = [1, 16, 32]
    file.write_text(json.dumps(document))
    assert main(["verify", str(path)]) == 1
    assert f"{file} is" in " ".join(capsys.readouterr().out.split())
    assert main(["run", str(path)]) == 0
    assert f"{file} was" in " ".join(capsys.readouterr().err.split())
    assert json.loads(file.read_text()) == json.loads(good)
    assert main(["verify", str(path)]) == 0
    np.testing.assert_array_equal(level(output), whole)
