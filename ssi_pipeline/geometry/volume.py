"""Image metadata: axes, shape, dtype and voxel size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ssi_pipeline.geometry.boxes import Ints

SpatialAxis = Literal["z", "y", "x"]
Axis = Literal["t", "c", "z", "y", "x"]

Sizes = int | Mapping[SpatialAxis, int] | None
"""Tile sizes as configured: one for all tiled axes, by axis, or None."""

AXES: tuple[Axis, ...] = ("t", "c", "z", "y", "x")
SPATIAL: tuple[SpatialAxis, ...] = ("z", "y", "x")


@dataclass(frozen=True, slots=True)
class Volume:
    """Axes, shape, dtype and voxel size of an image.

    ``axes`` are those that the file has, in the order t c z y x; ``shape`` always has five
    entries (t c z y x), 1 for an axis that the file lacks.
    """

    axes: str
    shape: tuple[int, int, int, int, int]
    dtype: str
    voxel_size_um: tuple[float, float, float] | None = None
    channel_names: tuple[str, ...] = ()

    @property
    def itemsize(self) -> int:
        """Bytes per voxel."""
        return np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels, uncompressed."""
        return int(np.prod(self.shape, dtype=object)) * self.itemsize

    def describe(self) -> str:
        """Return for instance ``zyx 40 x 201 x 101 uint16``."""
        sizes = " x ".join(str(n) for axis, n in zip(AXES, self.shape, strict=True) if axis in self.axes)
        return f"{self.axes} {sizes} {self.dtype}"


def per_axis(value: Sizes, default: Ints, dimensions: int, flat: int) -> Ints:
    """Return z y x from an integer (for all tiled axes), a mapping, or the default; ``flat`` is z in 2D."""
    if value is None:
        values = default
    elif isinstance(value, Mapping):
        values = tuple(value.get(axis, d) for axis, d in zip(SPATIAL, default, strict=True))
    else:
        values = (value, value, value)
    return values if dimensions == 3 else (flat, *values[1:])
