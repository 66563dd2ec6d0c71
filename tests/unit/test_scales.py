"""Scales, translations and units of an image: implausible values are not propagated."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry import Volume
from ssi_pipeline.storage.inputs.axes import AxisMap
from ssi_pipeline.storage.outputs.image_metadata import ImageMetadata
from ssi_pipeline.storage.outputs.multiscales import multiscales
from ssi_pipeline.storage.outputs.ome import describe_image, read_multiscale
from ssi_pipeline.storage.outputs.scales import describe_voxel_size

AXES = AxisMap("tczyx", (2, 2, 3, 8, 8))


def document(scale: list[Any], translation: list[Any] | None = None, units: tuple[str, ...] = ()) -> dict[str, Any]:
    kinds = {"t": "time", "c": "channel"}
    named = [{"name": a, "type": kinds.get(a, "space")} for a in "tczyx"]
    for axis, unit in zip(named, units or ("second", "", "micrometer", "micrometer", "micrometer"), strict=True):
        axis |= {"unit": unit} if unit else {}
    transforms = [{"type": "scale", "scale": scale}]
    transforms += [{"type": "translation", "translation": translation}] if translation else []
    return {"multiscales": [{"axes": named, "datasets": [{"path": "0", "coordinateTransformations": transforms}]}]}


def carried(found: dict[str, Any], asked: tuple[float, float, float] | None = None) -> tuple[Volume, ImageMetadata]:
    metadata = read_multiscale(found, 0, list("tczyx"))
    return describe_image(AXES, list("tczyx"), "uint16", metadata, asked, "input a.zarr")


def written(metadata: ImageMetadata, volume: Volume) -> list[list[float]]:
    said = {"scale": metadata.scale, "translation": metadata.translation, "axes_units": metadata.axes_units}
    made = multiscales("0.5", "out", volume, said, ((1, 1, 1), (1, 2, 2)), {"z": 1})
    return [t[t["type"]] for d in made["datasets"] for t in d["coordinateTransformations"]]


@pytest.mark.parametrize("bad", [0, 0.0, math.nan, math.inf, -math.inf, 1e300, 1e-300])
def test_a_scale_that_says_nothing_is_not_known(bad: float) -> None:
    volume, metadata = carried(document([bad, 1, bad, 0.1, 0.1], [9.0, 0, 5.0, 1.0, 1.0]))
    assert volume.voxel_size_um is None
    assert metadata.scale == {"c": 1, "y": 0.1, "x": 0.1}
    assert metadata.translation == {"y": 1.0, "x": 1.0}
    assert metadata.axes_units == {"y": "micrometer", "x": "micrometer"}
    # 1 without a unit, and the region's start counted in these
    assert written(metadata, volume)[:2] == [[1, 1, 1, 0.1, 0.1], [0, 0, 1, 1.0, 1.0]]
    assert "unknown" in describe_voxel_size(volume.voxel_size_um, "tczyx")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_a_shift_that_is_no_number_is_none(bad: float) -> None:
    volume, metadata = carried(document([1.0, 1.0, 0.4, 0.1, 0.1], [bad, bad, bad, 2.0, bad]))
    assert volume.voxel_size_um == (0.4, 0.1, 0.1)
    assert metadata.translation == {"y": 2.0}
    assert all(math.isfinite(v) for row in written(metadata, volume) for v in row)


def test_an_axis_that_runs_backwards_is_refused_unless_the_user_says_how_large_a_voxel_is() -> None:
    backwards = document([1.0, 1.0, -0.4, 0.1, 0.1], [0.0, 0.0, 7.0, 0.0, 0.0])
    with pytest.raises(InputError, match=r"input a.zarr: the scale along z is -.*voxel_size_um"):
        carried(backwards)
    with pytest.raises(InputError, match="along z"):
        carried(backwards, (0.0, 0.1, 0.1))
    volume, metadata = carried(backwards, (0.4, 0.0, 0.0))
    assert volume.voxel_size_um == (0.4, 0.1, 0.1)
    assert metadata.translation == {"z": 7.0}


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan])
def test_the_time_step_is_no_reason_to_refuse(bad: float) -> None:
    _, metadata = carried(document([bad, 1.0, 0.4, 0.1, 0.1]))
    assert "t" not in metadata.scale
    assert "t" not in metadata.axes_units


def test_what_the_user_says_replaces_a_scale_that_says_nothing() -> None:
    volume, metadata = carried(document([1, 1, math.nan, 0.1, 0.1]), (0.4, 0.0, 0.0))
    assert volume.voxel_size_um == (0.4, 0.1, 0.1)
    assert metadata.axes_units["z"] == "micrometer"


@pytest.mark.parametrize(
    ("units", "kept"),
    [
        (("s", "", "pixel", "um", "nm"), {"t": "second", "y": "micrometer", "x": "micrometer"}),
        (("min", "unit", "parsec", "", "foot"), {"t": "minute", "z": "parsec", "x": "foot"}),
        (("frames", "", "second", "second", "second"), {}),
    ],
)
def test_units_are_those_that_ome_zarr_names(units: tuple[str, ...], kept: dict[str, str]) -> None:
    _, metadata = carried(document([1.0, 1.0, 1.0, 1.0, 1.0], units=units))
    assert metadata.axes_units == kept


def test_a_unit_without_a_number_is_not_written() -> None:
    found = document([1.0])  # not as many as axes: passed over
    assert carried(found)[1].axes_units == {}


def test_the_plan_says_the_voxel_size() -> None:
    assert describe_voxel_size((0.4, 0.1, 0.13), "zyx") == "0.4 x 0.1 x 0.13 um (z y x)"
    assert describe_voxel_size((1.0, 0.1, 0.13), "tyx") == "0.1 x 0.13 um (y x)"
