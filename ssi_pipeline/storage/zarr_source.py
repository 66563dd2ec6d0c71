"""OME-Zarr 0.4 and 0.5 images, and bare zarr arrays (formats 2 and 3), in a local folder."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ssi_pipeline.errors import CorruptDataError, InputError
from ssi_pipeline.geometry import Box, Volume
from ssi_pipeline.storage.axes import native_dtype, resolve_axes
from ssi_pipeline.storage.ome import (
    ImageMetadata,
    axis_names,
    describe_image,
    image_document,
    read_multiscale,
    refuse_collections,
)

_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs")


class ZarrSource:
    """One resolution level of an OME-Zarr image, or one zarr array.

    Parameters
    ----------
    path
        Folder of the image or array.
    level
        Index of the resolution level; 0 for an array.
    axes
        What the user says the axes are, or None.
    voxel_size_um
        What the user says the voxel size is (z y x, 0 where not given), or None.
    """

    def __init__(
        self, path: Path, level: int, axes: str | None, voxel_size_um: tuple[float, float, float] | None
    ) -> None:
        self._root = path
        node = _open(path)
        if isinstance(node, zarr.Array):
            self._array, found, metadata = node, _array_axes(node), ImageMetadata()
            if level:
                raise InputError(f"{path} is one array without resolution levels; leave input.level out")
        else:
            self._array, found, metadata = _open_level(node, path, level)
        where = f"input {path}"
        dtype = native_dtype(np.dtype(self._array.dtype), where)
        self._axes = resolve_axes(self._array.shape, found, axes, where)
        self.volume: Volume
        self.metadata: ImageMetadata
        self.volume, self.metadata = describe_image(self._axes, found, dtype, metadata, voxel_size_um, where)

    @property
    def _folder(self) -> Path:
        return self._root / self._array.path if self._array.path else self._root

    def read(self, t: int, c: int, box: Box) -> NDArray[Any]:
        """Return the pixels of a box (z y x positions in the image), axes z y x, native dtype.

        Raises
        ------
        ValueError
            The box is not inside the image.
        CorruptDataError
            A chunk cannot be decoded; names it. A chunk that does not exist is the fill value.
        """
        wanted = self._axes.box(t, c, box)
        self._refuse_empty_files(wanted)
        try:
            values = np.asarray(self._array[wanted.slices])
        except Exception as error:  # codecs raise anything
            raise self._name_corrupt_chunk(wanted, error) from error
        return self._axes.to_zyx(values)

    def stamp(self) -> dict[str, Any]:
        """Return digests of the metadata files of the image and of the array."""
        files = {folder / name for folder in (self._root, self._folder) for name in _METADATA}
        found = sorted(file for file in files if file.is_file())
        digests = {str(f.relative_to(self._root)): hashlib.sha256(f.read_bytes()).hexdigest()[:16] for f in found}
        return {"metadata": digests}

    def files(self) -> list[Path]:
        """Return the folder of the array, which has all chunks."""
        return [self._folder]

    def _refuse_empty_files(self, wanted: Box) -> None:
        """A file of 0 bytes, left by a full disk or a broken copy, would read as the fill value."""
        for cell in _cells(wanted, self._array.shards or self._array.chunks):
            file = self._file(cell)
            try:
                size = file.stat().st_size
            except OSError:
                continue  # absent is legitimate; any other trouble shows when it is read
            if size == 0:
                raise CorruptDataError(
                    f"chunk {cell} of {self._folder} is an empty file ({file}): copy the input again"
                )

    def _name_corrupt_chunk(self, wanted: Box, error: Exception) -> CorruptDataError:
        chunks = self._array.chunks
        per_file = tuple(f // c for f, c in zip(self._array.shards or chunks, chunks, strict=True))
        for cell in _cells(wanted, chunks):
            start = tuple(i * n for i, n in zip(cell, chunks, strict=True))
            part = Box(start, tuple(a + n for a, n in zip(start, chunks, strict=True))).intersect(wanted)
            try:
                self._array[part.slices]
            except Exception as cause:  # as above: whatever the codec raises
                file = self._file(tuple(i // n for i, n in zip(cell, per_file, strict=True)))
                return CorruptDataError(
                    f"chunk {cell} of {self._folder} cannot be read ({file}): {type(cause).__name__}: {cause}"
                )
        return CorruptDataError(f"{self._folder}, box {wanted.start} to {wanted.stop}: {type(error).__name__}: {error}")

    def _file(self, cell: tuple[int, ...]) -> Path:
        return self._folder / self._array.metadata.encode_chunk_key(cell)


def _cells(box: Box, step: Sequence[int]) -> Iterator[tuple[int, ...]]:
    yield from itertools.product(
        *(range(a // s, (b - 1) // s + 1) for a, b, s in zip(box.start, box.stop, step, strict=True))
    )


def _open(path: Path) -> zarr.Array[Any] | zarr.Group:
    try:
        return zarr.open(str(path), mode="r")
    except Exception as error:  # zarr raises KeyError, ValueError, JSON errors and its own for bad metadata
        raise InputError(f"input {path} is no readable zarr: {type(error).__name__}: {error}") from error


def _array_axes(array: zarr.Array[Any]) -> list[str] | None:
    """Axis names of a bare array: ``dimension_names`` of format 3, xarray's attribute of format 2."""
    if array.metadata.zarr_format == 3:
        names: Any = array.metadata.dimension_names
    else:
        names = array.attrs.get("_ARRAY_DIMENSIONS")
    if not isinstance(names, (list, tuple)) or len(names) != array.ndim or not all(names):
        return None
    return [str(name) for name in names]


def _open_level(group: zarr.Group, path: Path, level: int) -> tuple[zarr.Array[Any], list[str] | None, ImageMetadata]:
    document = image_document(dict(group.attrs))
    refuse_collections(document, str(path))
    try:
        datasets = [str(dataset["path"]) for dataset in document["multiscales"][0]["datasets"]]
    except (KeyError, IndexError, TypeError):
        raise InputError(_no_image(group, path)) from None
    if level >= len(datasets):
        raise InputError(f"input {path} has no level {level}; levels: {_list_levels(group, datasets)}. Set input.level")
    array = _member(group, datasets[level])
    if array is None:
        raise InputError(f"input {path} lists level {level} as {datasets[level]!r}, but there is no such array")
    names = axis_names(document["multiscales"][0])
    if names is not None and len(names) != array.ndim:
        raise InputError(f"input {path} names {len(names)} axes, but its level {level} has {array.ndim} dimensions")
    if names is None and array.ndim == 5:
        names = list("tczyx")  # OME-Zarr 0.1 and 0.2 had exactly these
    try:
        return array, names, read_multiscale(document, level, names or [])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"input {path} has malformed OME-Zarr metadata: {type(error).__name__}: {error}") from error


def _member(group: zarr.Group, name: str) -> zarr.Array[Any] | None:
    try:
        member = group[name]
    except KeyError:
        return None
    except Exception as error:  # bad metadata of the array
        raise InputError(f"array {name} of {group.store_path} is not readable: {error}") from error
    return member if isinstance(member, zarr.Array) else None


def _list_levels(group: zarr.Group, datasets: Sequence[str]) -> str:
    shown = []
    for i, name in enumerate(datasets):
        array = _member(group, name)
        shown.append(f"{i} ({' x '.join(map(str, array.shape)) if array is not None else 'missing'})")
    return ", ".join(shown)


def _no_image(group: zarr.Group, path: Path) -> str:
    arrays = sorted(group.array_keys())[:5]
    if arrays:
        return f"input {path} is a zarr group without OME-Zarr metadata; give an array inside, e.g. {path / arrays[0]}"
    groups = sorted(group.group_keys())[:5]
    hint = f"; it holds the groups {', '.join(groups)}, give an image inside, e.g. {path / groups[0]}" if groups else ""
    return f"input {path} is a zarr group without an OME-Zarr image{hint}"
