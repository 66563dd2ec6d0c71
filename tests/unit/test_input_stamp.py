"""Sizes and times of an input's files: they change with any change of a file, and not by reading it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from builders import ramp, write_zarr

from ssi_pipeline.storage.inputs.input_stamp import input_stamp
from ssi_pipeline.storage.inputs.source import open_source
from ssi_pipeline.storage.inputs.source_protocol import SourceSpec


def stamp(path: Path) -> str:
    return input_stamp(open_source(SourceSpec(str(path), axes="zyx")))


def chunk(path: Path) -> Path:
    return sorted(file for file in (path / "c").rglob("*") if file.is_file())[3]


def rewrite_quietly(file: Path) -> None:
    """Write other bytes and put the times back, as cp -p does."""
    times = file.stat()
    file.write_bytes(bytes(len(file.read_bytes())))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "rewritten": lambda path: chunk(path).write_bytes(chunk(path).read_bytes()),
    "rewritten quietly": lambda path: rewrite_quietly(chunk(path)),
    "longer": lambda path: chunk(path).write_bytes(chunk(path).read_bytes() + b"\0"),
    "gone": lambda path: chunk(path).unlink(),
    "one more": lambda path: (path / "c" / "9").write_bytes(b""),
    "renamed": lambda path: chunk(path).rename(chunk(path).with_name("77")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_any_change_is_seen(tmp_path: Path, name: str) -> None:
    path = write_zarr(tmp_path / "in.zarr", ramp((2, 64, 64)), "zyx")
    before = stamp(path)
    assert np.asarray(open_source(SourceSpec(str(path), axes="zyx")).volume.shape).all()
    assert stamp(path) == before
    CHANGES[name](path)
    assert stamp(path) != before


def test_an_input_that_is_moved_as_a_whole_is_the_same(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "in.zarr", ramp((2, 64, 64)), "zyx")
    before = stamp(path)
    (tmp_path / "elsewhere").mkdir()
    shutil.move(path, tmp_path / "elsewhere" / "in.zarr")
    assert stamp(tmp_path / "elsewhere" / "in.zarr") == before


def test_a_circle_of_links_comes_to_an_end(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "in.zarr", ramp((2, 64, 64)), "zyx")
    (path / "c" / "0" / "loop").symlink_to(path, target_is_directory=True)
    (path / "c" / "0" / "nothing").symlink_to(tmp_path / "gone")
    assert stamp(path) == stamp(path)


def test_files_of_a_tiff(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    tifffile.imwrite(path, ramp((2, 64, 64)))
    before = stamp(path)
    os.utime(path)
    assert stamp(path) != before


def test_it_waits_until_a_further_change_would_show(tmp_path: Path) -> None:
    """Two changes within one tick of a clock have one time."""
    path = write_zarr(tmp_path / "in.zarr", ramp((1, 64, 64)), "zyx")
    file = chunk(path)
    now = time.time()
    os.utime(file, (now, now))
    begun = time.monotonic()
    before = stamp(path)
    assert time.monotonic() - begun > 0.02
    file.write_bytes(file.read_bytes())
    assert stamp(path) != before
    begun, whole = time.monotonic(), int(time.time())
    os.utime(file, (whole, whole))  # as a file system has it that counts in seconds
    for other in path.rglob("*"):
        os.utime(other, (whole - 100, whole - 100)) if other != file else None
    stamp(path)
    assert time.time() >= whole + 2
