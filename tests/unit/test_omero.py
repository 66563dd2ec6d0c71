"""Display settings of channels: completed where the input lacks them, left out where malformed."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest

from ssi_pipeline.storage.outputs.omero import omero_block


def block(found: Any, channels: int = 2, dtype: str = "uint16", axes: str = "cyx", **options: Any) -> dict[str, Any]:
    made = omero_block(axes, found, (4, channels, 6, 8, 8), dtype, options.pop("origin", {}), **options)
    json.dumps(made, allow_nan=False)
    for channel in made.get("channels", ()):
        assert re.fullmatch("[0-9A-F]{6}", channel["color"])
        window = channel["window"]
        assert set(window) == {"min", "max", "start", "end"}
        assert window["min"] < window["max"]
        assert window["start"] < window["end"]
    return made


def of(made: dict[str, Any], key: str) -> list[Any]:
    return [channel[key] for channel in made["channels"]]


def test_an_image_without_channels_has_no_block() -> None:
    assert block({}, 1, axes="zyx") == {}
    assert block(None, 1, axes="yx") == {}
    assert block({"rdefs": {"model": "color"}}, 1, axes="yx") == {}
    # but a name of the only channel is kept
    assert of(block({"channels": [{"label": "DAPI"}]}, 1, axes="yx"), "label") == ["DAPI"]


@pytest.mark.parametrize(
    ("channels", "colors"),
    [
        (1, ["FFFFFF"]),
        (2, ["FF00FF", "00FF00"]),
        (4, ["00FFFF", "FFFF00", "FF00FF", "FF0000"]),
        (7, ["00FFFF", "FFFF00", "FF00FF", "FF0000", "00FF00", "0000FF", "00FFFF"]),
    ],
)
def test_colours_by_convention(channels: int, colors: list[str]) -> None:
    assert of(block({}, channels), "color") == colors


def test_a_colour_that_is_given_is_not_taken_twice() -> None:
    given = {"channels": [{}, {"color": "FF00FF"}]}
    assert of(block(given), "color") == ["00FF00", "FF00FF"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("00ff7f", "00FF7F"), ("#0f0", "00FF00"), ("00FF00FF", "00FF00"), ("Red", "FF0000"), (" #123456 ", "123456")],
)
def test_colours_as_people_write_them(given: str, kept: str) -> None:
    assert of(block({"channels": [{"color": given}]}), "color")[0] == kept


@pytest.mark.parametrize("given", [None, 255, -1, True, "", "no colour", "12345", "GG0000", [255, 0, 0], {"r": 1}])
def test_what_is_no_colour_is_replaced(given: Any) -> None:
    assert of(block({"channels": [{"color": given}]}, 1), "color") == ["FFFFFF"]


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ([{"label": "GFP"}, {"label": "GFP"}], ["GFP", "GFP (2)"]),
        ([{"label": 488}, {"label": None}], ["488", "channel 4"]),
        ([{"label": " "}, "text", {"label": "third"}], ["channel 3", "channel 4"]),
        ([], ["channel 3", "channel 4"]),
        ("none", ["channel 3", "channel 4"]),
        ([{"label": "a"}, {"label": "b"}, {"label": "c"}], ["a", "b"]),
    ],
)
def test_there_are_as_many_labels_as_channels_and_they_differ(given: Any, labels: list[str]) -> None:
    assert of(block({"channels": given}, origin={"c": 3}), "label") == labels


def test_windows_come_from_the_input_then_from_the_calibration_then_from_the_dtype() -> None:
    given = {"channels": [{"window": {"min": 0, "max": 4095, "start": 100, "end": 900}}, {"window": {"start": 5}}]}
    first, second = of(block(given), "window")
    assert first == given["channels"][0]["window"]
    assert second == {"min": 0, "max": 65535, "start": 0, "end": 65535}
    known = [(1.0, 2.5, 3.5), (7.0, 10.2, 99.9)]
    first, second = of(block(given, shown=known), "window")
    assert first == given["channels"][0]["window"]
    assert second == {"min": 0, "max": 65535, "start": 10, "end": 100}
    assert of(block({}, dtype="float32", shown=known), "window")[1] == {
        "min": 7.0,
        "max": 99.9,
        "start": 10.2,
        "end": 99.9,
    }
    assert of(block({}, dtype="float32"), "window")[0] == {"min": 0.0, "max": 1.0, "start": 0.0, "end": 1.0}


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint64", "int64", "float16", "float64"])
@pytest.mark.parametrize("shown", [(0.0, 0.0, 0.0), (-5.0, -5.0, -5.0), (1e30, 1e30, 2e30), (-1e30, -1e30, 1e30)])
def test_a_window_is_never_empty_and_within_the_dtype(dtype: str, shown: tuple[float, float, float]) -> None:
    window = of(block({}, 1, dtype, shown=[shown]), "window")[0]
    if np.dtype(dtype).kind != "f":
        info = np.iinfo(dtype)
        assert info.min == window["min"] <= window["start"] < window["end"] <= window["max"] == info.max


@pytest.mark.parametrize(
    "window",
    [
        *(None, [], "0-255", {}, {"start": 1, "end": 1}, {"start": 9, "end": 1}, {"start": math.nan, "end": 1}),
        *({"start": True, "end": 5}, {"start": "a", "end": "b"}, {"start": 0, "end": math.inf}),
    ],
)
def test_what_is_no_window_is_replaced(window: Any) -> None:
    assert of(block({"channels": [{"window": window}]}, 1), "window") == [
        {"min": 0, "max": 65535, "start": 0, "end": 65535}
    ]


def test_what_else_is_said_is_kept_where_it_has_its_type() -> None:
    channel = {"active": True, "family": "linear", "lut": "x"}
    wrong = {"inverted": "no", "coefficient": math.nan, "wavelength_id": 7}
    made = block({"channels": [{**channel, **wrong}], "id": 1, "name": 3, "version": "0.3", "extra": math.nan}, 1)
    assert {k: v for k, v in made["channels"][0].items() if k not in ("label", "color", "window")} == channel
    assert set(made) == {"id", "channels"}


def test_the_plane_that_is_shown_first_is_one_of_the_output() -> None:
    rdefs = {"defaultT": 5, "defaultZ": 2, "model": "color", "projection": 5}
    made = block({"channels": [{}], "rdefs": rdefs}, origin={"t": 3, "z": 4})
    assert made["rdefs"] == {"defaultT": 2, "defaultZ": 0, "model": "color"}
    assert "rdefs" not in block({"channels": [{}], "rdefs": [1]})
    assert block({"channels": [{}], "rdefs": {"defaultT": math.inf, "defaultZ": 99}})["rdefs"] == {"defaultZ": 5}
