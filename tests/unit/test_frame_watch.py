"""When a time point of growing data is complete, and when the acquisition has ended: real files, an own clock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from ssi_pipeline.config import InputConfig
from ssi_pipeline.config.follow import FollowConfig
from ssi_pipeline.errors import InputError, RunChangedError
from ssi_pipeline.run.growth.watch import FrameWatch, News
from ssi_pipeline.storage.inputs.growing import Frame, growing_input

PLANE = np.zeros((8, 8), np.uint16)


class Clock:
    """A clock that stands still until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def watch_of(path: Path, **rule: Any) -> tuple[FrameWatch, Clock]:
    clock = Clock()
    growing = growing_input(InputConfig(path=path), None)
    return FrameWatch(growing, FollowConfig(settle_s=10, idle_s=100, **rule), clock), clock


def planes(folder: Path, t: int, *zs: int) -> None:
    """Write planes of a time point."""
    for z in zs:
        tifffile.imwrite(folder / f"s_T{t:03}_Z{z}.tif", PLANE)


def test_the_next_has_begun(tmp_path: Path) -> None:
    watch, _ = watch_of(tmp_path / "s_T{t}_Z{z}.tif")
    assert watch.look(0).complete == 0
    assert "no file matches" in watch.problem
    planes(tmp_path, 7, 0, 1)  # numbers may begin anywhere
    assert watch.look(0).complete == 0
    planes(tmp_path, 8, 0)
    assert watch.look(0).complete == 1
    planes(tmp_path, 9, 0, 1)  # 8 lacks a plane, whatever comes after it
    assert watch.look(1).complete == 1
    planes(tmp_path, 8, 1)
    assert watch.look(1).complete == 2


def test_settled(tmp_path: Path) -> None:
    watch, clock = watch_of(tmp_path / "s_T{t}_Z{z}.tif", complete="settled")
    planes(tmp_path, 0, 0, 1)
    assert watch.look(0).complete == 0
    clock.now = 9
    (tmp_path / "s_T000_Z1.tif").write_bytes(b"longer than before" * 100)
    assert watch.look(0).complete == 0
    clock.now = 18
    assert watch.look(0).complete == 0
    clock.now = 19
    assert watch.look(0).complete == 1


def test_a_marker(tmp_path: Path) -> None:
    watch, clock = watch_of(tmp_path / "s_T{t}_Z{z}.tif", complete=tmp_path / "T{t}.done", stop_file=tmp_path / "stop")
    planes(tmp_path, 0, 0, 1)
    planes(tmp_path, 1, 0, 1)
    assert watch.look(0).complete == 0
    (tmp_path / "T0.done").touch()
    assert watch.look(0).complete == 1
    (tmp_path / "stop").touch()
    assert not watch.look(1).ended  # it may still be written
    clock.now = 10
    news = watch.look(1)
    assert (news.complete, news.left_out) == (1, "time point 1: it has no marker")
    assert "stop exists" in news.ended


def test_the_end_leaves_out_what_is_incomplete(tmp_path: Path) -> None:
    watch, clock = watch_of(tmp_path / "s_T{t}_Z{z}.tif", stop_file=tmp_path / "stop")
    planes(tmp_path, 0, 0, 1)
    planes(tmp_path, 1, 0, 1)
    planes(tmp_path, 2, 1)
    (tmp_path / "stop").touch()
    assert watch.look(0).complete == 2
    assert not watch.look(2).ended
    clock.now = 10
    news = watch.look(2)
    assert news.left_out == "time point 2: 1 files are missing (s_T{t}_Z{z}.tif with t 2, z 0)"
    planes(tmp_path, 2, 0)  # the last one has only to settle
    assert not watch.look(2).ended
    clock.now = 20
    assert watch.look(2).complete == 3
    assert watch.look(3).ended


def test_no_news_is_an_end(tmp_path: Path) -> None:
    watch, clock = watch_of(tmp_path / "s_T{t}_Z{z}.tif")
    planes(tmp_path, 0, 0)
    planes(tmp_path, 1, 0)
    watch.look(1)
    clock.now = 99
    assert not watch.look(1).ended
    clock.now = 100
    assert watch.look(1).complete == 2
    assert "no news for" in watch.look(2).ended  # that it was taken is no news


def test_an_input_that_cannot_be_read_has_not_ended(tmp_path: Path) -> None:
    watch, clock = watch_of(tmp_path / "raw" / "s_T{t}_Z{z}.tif", stop_file=tmp_path / "stop")
    (tmp_path / "raw").mkdir()
    planes(tmp_path / "raw", 0, 0)
    planes(tmp_path / "raw", 1, 0)
    assert watch.look(0).complete == 1
    (tmp_path / "raw").rename(tmp_path / "away")
    (tmp_path / "stop").touch()
    clock.now = 99
    assert watch.look(1) == News(1)
    assert watch.problem
    clock.now = 100
    with pytest.raises(InputError, match=r"no news for .*run again to resume"):
        watch.look(1)
    (tmp_path / "away").rename(tmp_path / "raw")
    assert watch.look(1).complete == 2
    assert not watch.problem


def test_the_stop_file_comes_while_the_files_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, clock = watch_of(tmp_path / "s_T{t}_Z{z}.tif", stop_file=tmp_path / "stop")
    planes(tmp_path, 0, 0)
    watch.look(0)
    listed = watch.growing.look

    def late(first: int) -> list[Frame]:
        """List the files; then the writer adds its last ones and the stop file."""
        found = listed(first)
        if not (tmp_path / "stop").exists():
            planes(tmp_path, 1, 0)
            (tmp_path / "stop").touch()
        return found

    monkeypatch.setattr(watch.growing, "look", late)
    clock.now = 10
    assert not watch.look(1).ended
    clock.now = 20
    assert not watch.look(1).ended  # the one that came has to settle
    clock.now = 30
    assert watch.look(1).complete == 2


def growing_array(path: Path, frames: int, **options: Any) -> zarr.Array[Any]:
    """A zarr array t y x of four chunks for each time point."""
    chunks = options.pop("chunks", (1, 4, 4))
    return zarr.create_array(
        path, shape=(frames, 8, 8), chunks=chunks, dtype="uint16", dimension_names=("t", "y", "x"), **options
    )


def test_zarr_grows_or_is_filled(tmp_path: Path) -> None:
    watch, clock = watch_of(tmp_path / "in.zarr")
    assert watch.look(0).complete == 0
    array = growing_array(tmp_path / "in.zarr", 9)
    assert watch.look(0).complete == 0  # no chunk yet
    array[0] = 1
    assert watch.look(0).complete == 0
    array[1, :4] = 1
    assert watch.look(0).complete == 1
    array[2] = 1
    assert watch.look(1).complete == 1  # its chunks may still be written
    clock.now = 10
    news = watch.look(1)  # nothing but the fill value was left out of 1
    assert news.complete == 2
    assert "time point 1: 2 chunk files are missing" in news.absent[0]
    array.resize((12, 8, 8))
    array[3, :4] = 1
    assert watch.look(2).complete == 3
    clock.now = 200
    watch.look(3)
    clock.now = 300
    assert "time point 3: 2 files are missing" in watch.look(3).left_out  # a writer that was killed


def test_time_points_of_one_chunk_are_complete_together(tmp_path: Path) -> None:
    watch, clock = watch_of(tmp_path / "in.zarr", complete="settled")
    array = growing_array(tmp_path / "in.zarr", 3, chunks=(2, 8, 8))
    array[:] = 1
    watch.look(0)
    clock.now = 10
    assert watch.look(0).complete == 2  # a fourth one would be added to the files of the third
    array.resize((4, 8, 8))
    array[3] = 2
    clock.now = 20
    assert watch.look(2).complete == 2
    clock.now = 30
    assert watch.look(2).complete == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda array: array.resize((2, 8, 8)),
        lambda array: array.resize((4, 8, 4)),
    ],
    ids=["shrinks", "another axis"],
)
def test_another_shape_is_refused(tmp_path: Path, change: Callable[[zarr.Array[Any]], None]) -> None:
    watch, _ = watch_of(tmp_path / "in.zarr")
    array = growing_array(tmp_path / "in.zarr", 4)
    array[:] = 1
    watch.look(2)
    change(array)
    with pytest.raises(RunChangedError, match="expected growth along t alone"):
        watch.look(2)


def test_a_new_channel_is_refused(tmp_path: Path) -> None:
    watch, _ = watch_of(tmp_path / "s_T{t}_Z{z}.tif")
    planes(tmp_path, 0, 0)
    planes(tmp_path, 1, 0)
    watch.look(1)
    planes(tmp_path, 1, 1)
    with pytest.raises(RunChangedError, match=r"s_T001_Z1\.tif has a place that the first time point lacks"):
        watch.look(1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("in.tif", "single file"),
        ("in.nd2", "single file"),
        ("in.npy", "single file"),
        ("s_Z{z}.tif", "has no {t}"),
    ],
)
def test_inputs_that_cannot_grow(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        growing_input(InputConfig(path=tmp_path / name), None)


def test_a_url_cannot_be_followed() -> None:
    with pytest.raises(InputError, match="is a URL"):
        growing_input(InputConfig(path="https://example.org/in.zarr"), None)


def test_zarr_without_time_is_refused(tmp_path: Path) -> None:
    watch, _ = watch_of(tmp_path / "in.zarr")
    zarr.create_array(tmp_path / "in.zarr", data=np.ones((2, 8, 8), np.uint16), dimension_names=("z", "y", "x"))
    with pytest.raises(RunChangedError, match="expects an image with t"):
        watch.look(0)
