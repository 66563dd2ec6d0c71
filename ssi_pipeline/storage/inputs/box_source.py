"""A source made from an image that can read boxes: numpy files, and files of microscopes."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import CorruptDataError
from ssi_pipeline.geometry import Box
from ssi_pipeline.storage.inputs.axes import native_dtype, resolve_axes
from ssi_pipeline.storage.inputs.file_stamp import file_stamp
from ssi_pipeline.storage.outputs.image_metadata import ImageMetadata
from ssi_pipeline.storage.outputs.ome import describe_image


def _nothing() -> None:
    """Close nothing."""


@dataclass(frozen=True, slots=True)
class BoxImage:
    """One image of a file.

    ``kind``: format, for people. ``axes``: its letters, one per dimension of ``shape``, or None if the file does not
    name them. ``read``: returns the pixels of a box in the axes of the file; it is called by one thread at a time and
    may raise anything. ``optics``: ``na``, ``wavelength_um``, ``immersion``, as far as the file states them.
    """

    kind: str
    axes: str | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[Box], NDArray[Any]]
    close: Callable[[], None] = _nothing
    metadata: ImageMetadata = field(default_factory=ImageMetadata)
    optics: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class BoxSource:
    """An image of one file, read box by box.

    Parameters
    ----------
    path
        The file.
    image
        Its image; closed with the source.
    axes
        Axes given by the user, or None.
    voxel_size_um
        Voxel size given by the user (z y x, 0 where not given), or None.
    booleans
        Pixels may be booleans.
    """

    def __init__(
        self,
        path: Path,
        image: BoxImage,
        axes: str | None,
        voxel_size_um: tuple[float, float, float] | None,
        booleans: bool = False,
    ) -> None:
        self._path, self.image, self._lock = path, image, threading.Lock()
        self.close = weakref.finalize(self, image.close)
        where = f"input {path}"
        try:
            dtype = native_dtype(image.dtype, where, booleans)
            self._axes = resolve_axes(image.shape, image.axes, axes, where)
            self.volume, self.metadata = describe_image(
                self._axes, image.axes, dtype, image.metadata, voxel_size_um, where
            )
        except Exception:
            self.close()
            raise

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings about a readable input."""
        return self.image.notes

    def read(self, t: int, c: int, box: Box) -> NDArray[Any]:
        """Return the pixels of a box (z y x positions in the image), axes z y x, native dtype.

        Raises
        ------
        ValueError
            The box is not inside the image.
        CorruptDataError
            Pixels are missing, truncated or cannot be decoded.
        """
        wanted = self._axes.box(t, c, box)
        try:
            with self._lock:
                values = self.image.read(wanted)
        except Exception as error:  # readers of formats raise anything
            raise CorruptDataError(
                f"t {t}, c {c}, z {box.start[0]} to {box.stop[0]} of {self._path} cannot be read: "
                f"{type(error).__name__}: {error}"
            ) from error
        return self._axes.to_zyx(values)

    def stamp(self) -> dict[str, Any]:
        """Return the file's size and the digest of its ends."""
        return file_stamp(self._path)

    def files(self) -> list[Path]:
        """Return the file."""
        return [self._path]


def read_planes(box: Box, plane: Callable[[tuple[int, ...]], NDArray[Any]]) -> NDArray[Any]:
    """Return a box of an image whose last axes are y x; ``plane`` takes the indices along the leading axes."""
    many = len(box.shape) - 2
    out: NDArray[Any] | None = None
    for position in np.ndindex(box.shape[:many]):
        part = plane(tuple(a + p for a, p in zip(box.start, position, strict=False)))[box.slices[many:]]
        if out is None:
            out = np.empty(box.shape, part.dtype)
        out[position] = part
    assert out is not None  # boxes are not empty
    return out
