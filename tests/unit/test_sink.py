"""A sink writes whole shards only: two writers of one shard lose data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from ssi_pipeline.errors import OutputError
from ssi_pipeline.geometry import Box
from ssi_pipeline.storage.outputs.sink import Sink

SHAPE, SHARD = (2, 12, 20), (1, 8, 8)


@pytest.fixture
def sink(tmp_path: Path) -> Sink:
    zarr.create_array(tmp_path / "0", shape=SHAPE, shards=SHARD, chunks=(1, 4, 4), dtype="uint16")
    return Sink(tmp_path, "zyx", SHARD, writable=True)


def write(sink: Sink, box: Box, dtype: str = "uint16") -> None:
    sink.write(0, 0, 0, box, np.full(box.shape, 7, dtype))


@pytest.mark.parametrize("stop", [(1, 8, 8), (2, 12, 20)])
def test_a_whole_shard_is_written_also_one_cut_by_the_border(sink: Sink, stop: tuple[int, int, int]) -> None:
    start = tuple((n - 1) // s * s for n, s in zip(stop, SHARD, strict=True))
    write(sink, box := Box(start, stop))
    assert (sink.read(0, 0, 0, box) == 7).all()
    assert sink.level(0)[:].sum() == 7 * np.prod(box.shape)


@pytest.mark.parametrize(
    "box",
    [
        Box((0, 0, 0), (1, 8, 4)),  # a part of one
        Box((0, 0, 4), (1, 8, 12)),  # as large as one, in two
        Box((0, 0, 0), (2, 8, 8)),  # two of them
        Box((0, 8, 16), (1, 11, 20)),  # less than the border leaves
    ],
)
def test_anything_else_is_refused_and_nothing_is_written(sink: Sink, box: Box) -> None:
    with pytest.raises(OutputError, match="is not one shard"):
        write(sink, box)
    assert not sink.level(0)[:].any()


def test_values_of_another_dtype_are_refused(sink: Sink) -> None:
    with pytest.raises(OutputError, match="expected uint16 values"):
        write(sink, Box((0, 0, 0), (1, 8, 8)), "float32")
