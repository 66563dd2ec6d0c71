"""Sources of an image that is in memory: whole, or in boxes that were fetched beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import CorruptDataError
from ssi_pipeline.geometry import Box, Volume
from ssi_pipeline.storage.inputs.axes import AxisMap, native_dtype, resolve_axes
from ssi_pipeline.storage.outputs.image_metadata import ImageMetadata
from ssi_pipeline.storage.outputs.ome import describe_image

NAME = Path("array")
"""In place of the path of an input or a PSF in memory, in messages."""


@dataclass(frozen=True)
class ArraySource:
    """A numpy array as an input; ``axes``: its axes, in its own order."""

    array: NDArray[Any]
    axes: AxisMap
    volume: Volume
    metadata: ImageMetadata
    notes: tuple[str, ...] = ()

    def read(self, t: int, c: int, box: Box) -> NDArray[Any]:
        """Return the pixels of a box (z y x positions in the image), axes z y x, native dtype."""
        return self.axes.to_zyx(np.asarray(self.array[self.axes.box(t, c, box).slices]))

    def stamp(self) -> dict[str, Any]:
        """Return nothing: an array has no metadata."""
        return {}

    def files(self) -> list[Path]:
        """Return nothing: an array has no files."""
        return []


@dataclass(frozen=True)
class DescribedSource(ArraySource):
    """An image of which shape and dtype are known, and pixels only in boxes.

    ``boxes``: t, c, box (z y x) and pixels with the axes of the image.
    """

    boxes: Sequence[tuple[int, int, Box, NDArray[Any]]] = ()

    def read(self, t: int, c: int, box: Box) -> NDArray[Any]:
        """Return the pixels of a box, axes z y x, native dtype.

        Raises
        ------
        CorruptDataError
            No fetched box contains it: those that read it do without, as where a file is damaged.
        """
        for held_t, held_c, held, values in self.boxes:
            if (held_t, held_c) == (t, c) and held.contains(box):
                return self.axes.to_zyx(values)[box.relative_to(held.start).slices]
        raise CorruptDataError(f"t {t}, c {c}, {box} was not fetched")


def array_source(array: Any, axes: str, voxel_size_um: tuple[float, float, float] | None) -> ArraySource:
    """Return the source of a numpy array, or of another one of which only shape and dtype are looked at.

    Raises
    ------
    InputError
        The axes do not fit its shape, or its dtype is none of an image.
    """
    where = str(NAME)
    dtype = native_dtype(np.dtype(array.dtype), where)
    found = resolve_axes(array.shape, None, axes, where)
    volume, metadata = describe_image(found, None, dtype, ImageMetadata(), voxel_size_um, where)
    if isinstance(array, np.ndarray):
        return ArraySource(array, found, volume, metadata)
    return DescribedSource(np.empty(0), found, volume, metadata)
