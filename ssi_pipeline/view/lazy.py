"""An image that is read where it is indexed: what napari asks of an array, without a graph of a million chunks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.geometry import Box
from ssi_pipeline.storage.inputs.source_protocol import Source

Read = Callable[[tuple[slice, ...]], NDArray[Any]]
"""Returns the values on slices of step 1 inside the image, one for each axis."""


class LazyImage:
    """An array of any number of axes over a function that reads boxes of it.

    Nothing is kept: what a run has written since is seen by the next read.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, read: Read) -> None:
        self.shape, self._read = shape, read
        self.dtype: np.dtype[Any] = np.dtype(dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return self.size * int(self.dtype.itemsize)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        ranges, steps = [], list[slice | int]()
        for item, n in zip(_whole(key, self.ndim), self.shape, strict=True):
            if isinstance(item, slice):
                ranges.append(range(*item.indices(n)))
                steps.append(slice(None, None, ranges[-1].step))
            else:
                ranges.append(range(range(n)[item], range(n)[item] + 1))
                steps.append(0)
        if not all(ranges):
            return np.empty(
                [len(r) for r, step in zip(ranges, steps, strict=True) if isinstance(step, slice)], self.dtype
            )
        box = tuple(slice(min(r[0], r[-1]), max(r[0], r[-1]) + 1) for r in ranges)
        return np.asarray(self._read(box))[tuple(steps)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype)


def _whole(key: Any, ndim: int) -> tuple[Any, ...]:
    """Return an index with an entry for each axis."""
    items = list(key) if isinstance(key, tuple) else [key]
    place = next((i for i, item in enumerate(items) if item is Ellipsis), None)
    if place is None:
        place = len(items)
        items.append(Ellipsis)
    items[place : place + 1] = [slice(None)] * (ndim - len(items) + 1)
    if len(items) != ndim:
        raise IndexError(f"{len(items)} indices for an image of {ndim} axes")
    return tuple(items)


def channel_of_array(array: Any, axes: str, c: int) -> LazyImage:
    """Return one channel of a zarr array; ``axes``: those of the array, the result lacks c."""
    place = axes.find("c")

    def read(box: tuple[slice, ...]) -> NDArray[Any]:
        """Read from the array."""
        return np.asarray(array[box if place < 0 else (*box[:place], c, *box[place:])])

    shape = tuple(n for n, axis in zip(array.shape, axes, strict=True) if axis != "c")
    return LazyImage(shape, array.dtype, read)


def channel_of_source(source: Source, c: int) -> LazyImage:
    """Return one channel of an input, with its axes but c."""
    volume = source.volume
    axes = volume.axes.replace("c", "")
    sizes = dict(zip("tczyx", volume.shape, strict=True))

    def read(box: tuple[slice, ...]) -> NDArray[Any]:
        """Read time point by time point."""
        by_axis = {axis: slice(0, 1) for axis in "tzyx"} | dict(zip(axes, box, strict=True))
        place = Box(*(tuple(getattr(by_axis[axis], end) for axis in "zyx") for end in ("start", "stop")))
        times = by_axis["t"]
        planes = np.stack([source.read(t, c, place) for t in range(times.start, times.stop)])
        return planes.reshape([s.stop - s.start for s in box])

    return LazyImage(tuple(sizes[axis] for axis in axes), volume.dtype, read)
