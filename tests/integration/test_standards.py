"""Outputs conform to the standards; other libraries read them in tests/validators."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from ssi_pipeline.cli import main
from ssi_pipeline.quality.alarms import ALARMS
from ssi_pipeline.results.finish import METHODS, METRICS
from ssi_pipeline.storage.outputs.quality_arrays import TILE_DIMENSIONS
from tests.builders import beads, complete, image_files, make_run
from tests.validators.outputs import write_ome

CHECKSUM = 4
"""Bit of the frame header's descriptor byte, after the magic number of four (RFC 8878, 3.1.1.1.1)."""


def attributes(output: Path) -> dict[str, Any]:
    return dict(zarr.open_group(output, mode="r", use_consolidated=False).attrs)


def test_format_2_says_nothing_of_checksums_and_has_them(tmp_path: Path) -> None:
    sections = {"output": {"ome_zarr": "0.4", "uncertainty": 2}, "solver": "wiener", "tiling": {"core": 140}}
    made = complete(make_run(tmp_path, beads((1, 140, 280)), **sections))
    arrays = sorted(made.rglob(".zarray"))
    assert len(arrays) == 2 + 1 + len(METRICS) + len(TILE_DIMENSIONS)
    for path in arrays:
        assert json.loads(path.read_text())["compressor"] == {"id": "zstd", "level": 3}
        chunks = [p for p in path.parent.rglob("*") if p.is_file() and not p.name.startswith(".")]
        assert chunks
        assert all(chunk.read_bytes()[4] & CHECKSUM for chunk in chunks), path.parent
    # what plain zarr, with nothing of ours, makes of a flipped bit in any of them
    rng = np.random.default_rng(0)
    for chunk in rng.choice([str(p) for p in image_files(made)], 3):
        content = bytearray(Path(chunk).read_bytes())
        content[rng.integers(9, len(content))] ^= 1 << int(rng.integers(8))
        Path(chunk).write_bytes(content)
        level = made / Path(chunk).relative_to(made).parts[0]
        with pytest.raises((RuntimeError, ValueError)):
            zarr.open_array(level, mode="r")[...]


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_channels_are_shown_from_what_their_calibration_found(tmp_path: Path, version: str) -> None:
    names = {"channels": [{"label": "GFP", "window": {"min": 0, "max": 9, "start": 1, "end": 8}}, {"label": "RFP"}]}
    write_ome(tmp_path / "in.zarr", beads((2, 40, 50)), "cyx", names)
    made = complete(make_run(tmp_path, None, output={"ome_zarr": version}))
    found = attributes(made)
    first, second = (found["ome"] if version == "0.5" else found)["omero"]["channels"]
    assert first == {**names["channels"][0], "color": "FF00FF"}
    calibration = json.loads((tmp_path / "out.zarr.run" / "calibration.json").read_text())[1]
    low, high = calibration["offset"], calibration["offset"] + calibration["scale"]
    window = {"min": 0, "max": 65535, "start": math.floor(low), "end": math.ceil(high)}
    assert second == {"label": "RFP", "color": "00FF00", "window": window}


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_quality_says_what_it_is_and_where_its_tiles_lie(tmp_path: Path, version: str) -> None:
    voxel = {"z": 0.4, "y": 0.1, "x": 0.2}
    config = make_run(
        tmp_path,
        beads((2, 4, 70, 100)),
        "czyx",
        input={"voxel_size_um": voxel, "roi": {"z": [1, 3], "x": [10, 100]}},
        output={"ome_zarr": version},
        psf={"kind": "identity"},
    )
    made = complete(config)
    # as xarray does: from the consolidated metadata of the group
    group = zarr.open_consolidated(made / "quality")

    def about(name: str) -> tuple[tuple[str, ...], dict[str, Any]]:
        array: Any = group[name]
        said = dict(array.attrs)
        return tuple(said.pop("_ARRAY_DIMENSIONS", ()) or array.metadata.dimension_names), said

    for name in METRICS:
        dimensions, said = about(name)
        assert dimensions == TILE_DIMENSIONS
        assert said["long_name"] == METRICS[name]
        assert said["units"]
    assert about("seconds")[1]["units"] == "s"
    assert about("frc_after")[1]["units"] == "micrometer"
    assert about("flag")[1]["flag_masks"] == [2**i for i in range(len(ALARMS))]
    assert about("flag")[1]["flag_meanings"].split() == [alarm.name for alarm in ALARMS]
    assert about("method")[1]["flag_values"] == sorted(METHODS.values())
    assert about("method")[1]["flag_meanings"].split() == sorted(METHODS, key=lambda name: METHODS[name])
    assert about("status")[1]["flag_meanings"] == "todo done failed"
    starts = {axis: np.asarray(group[f"tile_{axis}"][...]).tolist() for axis in "tczyx"}  # type: ignore[index]
    assert starts == {"t": [0], "c": [0, 1], "z": [0, 1], "y": [0, 32, 64], "x": [0, 32, 64]}
    assert group.attrs["coordinates"] == "position_z position_y position_x"
    where = np.asarray(group["position_x"][...])  # type: ignore[index]
    np.testing.assert_allclose(where, 0.2 * (10 + np.array([0, 32, 64])))
    assert about("position_x") == (
        ("tile_x",),
        {"long_name": "position along x of the first voxel of the tile's core", "units": "micrometer"},
    )
    assert not list(made.glob(".quality*"))


def test_quality_is_made_anew_as_a_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also over what an earlier version wrote, with the image's names of dimensions, and what a kill left."""
    config = make_run(tmp_path, beads((1, 64, 64)))
    made = complete(config)
    group = zarr.open_group(made / "quality", mode="w")
    old = group.create_array("flag", shape=(1, 1, 1, 2, 2), dtype="float32", dimension_names=tuple("tczyx"))
    old[...] = 2048
    (made / ".quality.1.partial" / "flag").mkdir(parents=True)
    assert main(["status", str(config)]) == 0
    assert "4 of 4 tiles flagged" in capsys.readouterr().out
    zarr.open_group(made, mode="r+").attrs["ssi_pipeline"] = {
        **attributes(made)["ssi_pipeline"],
        "status": "incomplete",
    }
    complete(config)
    assert set(zarr.open_group(made / "quality", mode="r").array_keys()) == {*METRICS, *TILE_DIMENSIONS}
    assert not list(made.glob(".quality*"))


def test_a_scale_of_zero_is_not_written_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_ome(tmp_path / "in.zarr", beads((2, 40, 50)), "zyx", {})
    path = tmp_path / "in.zarr" / ".zattrs"
    document = json.loads(path.read_text())
    transforms = document["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    transforms[0]["scale"] = [0, math.nan, 0.1]
    path.write_text(json.dumps(document))
    config = make_run(tmp_path, None)
    assert main(["plan", str(config)]) == 0
    assert "voxel size   unknown" in capsys.readouterr().out
    written = attributes(complete(config))["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert written[0]["scale"] == [1.0, 1.0, 0.1]
    transforms[0]["scale"] = [-0.3, 0.1, 0.1]
    path.write_text(json.dumps(document))
    assert main(["plan", str(config)]) == 2
    assert "scale along z is -0.3" in capsys.readouterr().err
