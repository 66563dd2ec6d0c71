"""OME-Zarr 0.4 and 0.5 images, and bare zarr arrays (formats 2 and 3), in a folder or an object store."""

from __future__ import annotations

import itertools
import json
import stat
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config.fingerprint import short_digest
from ssi_pipeline.config.url import Place, Url
from ssi_pipeline.errors import CorruptDataError, StoreError
from ssi_pipeline.geometry import Box, Volume
from ssi_pipeline.storage.inputs.axes import native_dtype, resolve_axes
from ssi_pipeline.storage.inputs.foreign import HEAD, describe_pointer
from ssi_pipeline.storage.inputs.zarr_absent import (
    chunk_files,
    describe_chunks,
    refuse_absent_chunks,
    refuse_pointers,
)
from ssi_pipeline.storage.inputs.zarr_chunks import dangling_link
from ssi_pipeline.storage.inputs.zarr_consolidated import describe_stale_copies
from ssi_pipeline.storage.inputs.zarr_image import find_image
from ssi_pipeline.storage.inputs.zarr_node import METADATA_FILES
from ssi_pipeline.storage.outputs.image_metadata import ImageMetadata
from ssi_pipeline.storage.outputs.ome import describe_image
from ssi_pipeline.storage.store import path_in, store_of

_ABSENT = "is missing from a complete output of ssi, which writes every chunk"


class ZarrSource:
    """One resolution level of an OME-Zarr image, or one zarr array.

    Parameters
    ----------
    path
        Folder of the image or array.
    level
        Index of the resolution level; 0 for an array.
    axes
        Axes given by the user, or None.
    voxel_size_um
        Voxel size given by the user (z y x, 0 where not given), or None.
    booleans
        Pixels may be booleans, as those of a mask.
    labels
        The image may be a label image, and without any chunk, as one without objects.
    """

    def __init__(
        self,
        path: Place,
        level: int,
        axes: str | None,
        voxel_size_um: tuple[float, float, float] | None,
        booleans: bool = False,
        labels: bool = False,
    ) -> None:
        self._root = path
        where = f"input {path}"
        self._image = image = find_image(path, level, where, labels)
        self._array, self._folder = image.array, image.node.folder
        dtype = native_dtype(np.dtype(self._array.dtype), where, booleans)
        self._axes = resolve_axes(self._array.shape, image.axes, axes, where)
        self.volume: Volume
        self.metadata: ImageMetadata
        self.volume, self.metadata = describe_image(self._axes, image.axes, dtype, image.metadata, voxel_size_um, where)
        self._files = chunk_files(self._array, self._folder)
        refuse_absent_chunks(self._files, self._array, where, labels)
        refuse_pointers(self._files, where)

    @property
    def chunk_bytes(self) -> int:
        """Bytes in memory of one chunk, the smallest unit of decoding."""
        return int(np.prod(self._array.chunks, dtype=object)) * self._array.dtype.itemsize

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Warnings: missing chunks, stale metadata, origin of the scale.

        Computed on demand: counting the chunk files of a large image takes seconds, and workers do not need it.
        """
        image = self._image
        stale = describe_stale_copies(image.group, image.node) if image.group is not None else None
        chunks = describe_chunks(self._files, self._array)
        if chunks and image.ours:
            chunks.append("this is a complete output of ssi, which has all chunks: run `ssi verify` on it")
        return (*image.notes, *([stale] if stale is not None else []), *chunks)

    def read(self, t: int, c: int, box: Box) -> NDArray[Any]:
        """Return the pixels of a box (z y x positions in the image), axes z y x, native dtype.

        Raises
        ------
        ValueError
            The box is not inside the image.
        CorruptDataError
            A chunk cannot be decoded; names it. A missing chunk reads as the fill value.
        """
        wanted = self._axes.box(t, c, box)
        self._refuse_bad_files(wanted)
        try:
            values = np.asarray(self._array[wanted.slices])
        except StoreError:  # says nothing about the data
            raise
        except Exception as error:  # codecs raise anything
            raise self._name_corrupt_chunk(wanted, error) from error
        return self._axes.to_zyx(values)

    def stamp(self) -> dict[str, Any]:
        """Return digests of the metadata files of the image and of the array."""
        folders = {self._root, self._folder, *([self._image.group.folder] if self._image.group else [])}
        stores = sorted(map(store_of, folders), key=lambda store: str(store.place))
        found = [(store, name) for store in stores for name in METADATA_FILES if store.exists(name)]
        names = sorted((path_in(self._root, store.place / name), store.read(name)) for store, name in found)
        return {"metadata": {name: _digest(content) for name, content in names}}

    def files(self) -> Sequence[Place]:
        """Return the folder of the array, which contains all chunks; on a web server the chunks."""
        if self._files.lists:
            return [self._folder]
        return [self._files.file(cell) for cell in itertools.product(*map(range, self._files.grid))]

    @property
    def frames_per_file(self) -> int:
        """Number of time points that lie in the same files."""
        step = self._array.shards or self._array.chunks
        return step[self._axes.names.index("t")] if "t" in self._axes.names else 1

    def files_at(self, t: int) -> list[Place]:
        """Return the files that hold a time point, whether they exist or not."""
        ranges = [range(n) for n in self._files.grid]
        cell = t // self.frames_per_file
        ranges[self._axes.names.index("t")] = range(cell, cell + 1)
        return [self._files.file(cell) for cell in itertools.product(*ranges)]

    def _refuse_bad_files(self, wanted: Box) -> None:
        """Refuse what zarr would read as the fill value: empty files, folders and dangling links."""
        for cell in _cells(wanted, self._array.shards or self._array.chunks):
            file = self._files.file(cell)
            wrong = self._what_is_wrong_in_store(cell) if isinstance(file, Url) else self._what_is_wrong(file)
            if wrong is not None:
                raise CorruptDataError(f"chunk {cell} of {self._folder} {wrong} ({file}): copy the input again")

    def _what_is_wrong_in_store(self, cell: tuple[int, ...]) -> str | None:
        """Look for what may not be absent. Empty objects are noticed as they are read, without another request."""
        if not self._image.ours or store_of(self._folder).exists(self._files.name(cell)):
            return None
        return _ABSENT

    def _what_is_wrong(self, file: Path) -> str | None:
        try:
            found = file.stat()
        except FileNotFoundError:
            link = dangling_link(file, self._folder)
            if link is not None:
                return f"is a dangling link, {link}"
            return _ABSENT if self._image.ours else None
        except OSError as error:
            return f"cannot be accessed: {error.strerror}"
        if not stat.S_ISREG(found.st_mode):
            return "is not a regular file"
        return None if found.st_size else "is an empty file"

    def _name_corrupt_chunk(self, wanted: Box, error: Exception) -> CorruptDataError:
        chunks = self._array.chunks
        per_file = tuple(f // c for f, c in zip(self._array.shards or chunks, chunks, strict=True))
        for cell in _cells(wanted, chunks):
            start = tuple(i * n for i, n in zip(cell, chunks, strict=True))
            part = Box(start, tuple(a + n for a, n in zip(start, chunks, strict=True))).intersect(wanted)
            try:
                self._array[part.slices]
            except StoreError:
                raise
            except Exception as cause:  # codecs raise any type
                file = self._files.file(tuple(i // n for i, n in zip(cell, per_file, strict=True)))
                why = _pointer(file) or f"{type(cause).__name__}: {cause}"
                return CorruptDataError(f"chunk {cell} of {self._folder} cannot be read ({file}): {why}")
        return CorruptDataError(f"{self._folder}, box {wanted.start} to {wanted.stop}: {type(error).__name__}: {error}")


def _cells(box: Box, step: Sequence[int]) -> Iterator[tuple[int, ...]]:
    yield from itertools.product(
        *(range(a // s, (b - 1) // s + 1) for a, b, s in zip(box.start, box.stop, step, strict=True))
    )


def _pointer(file: Place) -> str | None:
    if isinstance(file, Url):
        return None
    try:
        with file.open("rb") as opened:
            found = describe_pointer(opened.read(HEAD))
    except OSError:
        return None
    return f"it {found}" if found else None


def _digest(content: bytes) -> str:
    """Return the digest of a metadata file without consolidated metadata, which do not change the image."""
    document = json.loads(content)
    document.pop("consolidated_metadata", None)
    data = json.dumps(document, sort_keys=True).encode()
    return short_digest(data)
