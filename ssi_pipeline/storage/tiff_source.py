"""TIFF, OME-TIFF and ImageJ stacks, read plane by plane and never whole."""

from __future__ import annotations

import hashlib
import math
import os
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from ssi_pipeline.errors import CorruptDataError, InputError
from ssi_pipeline.geometry import Box, Volume
from ssi_pipeline.storage.axes import native_dtype, resolve_axes
from ssi_pipeline.storage.ome import ImageMetadata, describe_image
from ssi_pipeline.storage.tiff_metadata import read_tiff_metadata

_ENDS = 64 * 1024


class TiffSource:
    """One resolution level of the first image of a TIFF.

    Uncompressed planes are mapped for the time of one read: a lasting map would count every page of the
    file ever touched as this process's memory, and workers are stopped for that. Of compressed
    planes only the strips or tiles that a box touches are read and decoded.

    Parameters
    ----------
    path
        The file.
    level
        Index of the resolution level (SubIFDs).
    axes
        What the user says the axes are, or None.
    voxel_size_um
        What the user says the voxel size is (z y x, 0 where not given), or None.
    """

    def __init__(
        self, path: Path, level: int, axes: str | None, voxel_size_um: tuple[float, float, float] | None
    ) -> None:
        self._path, self._lock = path, threading.Lock()
        try:
            tif = tifffile.TiffFile(path)
        except PermissionError:
            raise
        except Exception as error:  # tifffile raises its own, struct.error, ValueError ... on broken headers
            raise InputError(f"input {path} is no readable TIFF: {type(error).__name__}: {error}") from error
        # pages are looked up lazily in the open file; it is closed when the source is forgotten
        self.close = weakref.finalize(self, tif.close)
        try:
            self._open(tif, level, axes, voxel_size_um)
        except Exception:
            self.close()
            raise

    def _open(
        self, tif: tifffile.TiffFile, level: int, axes: str | None, voxel_size_um: tuple[float, float, float] | None
    ) -> None:
        where = f"input {self._path}"
        try:
            series = _level(tif, level, where)
            metadata = _at_level(read_tiff_metadata(tif), tif.series[0], series)
            offset = None if series.is_multifile else series.dataoffset
        except InputError:
            raise
        except Exception as error:  # as above: broken directories and metadata
            raise InputError(f"{where} is no readable TIFF: {type(error).__name__}: {error}") from error
        self._series, self._offset = series, offset
        self._dtype = np.dtype(series.dtype).newbyteorder(tif.byteorder)
        dtype = native_dtype(self._dtype, where)
        shape, found = _shape_and_axes(series, axes, where)
        self._axes = resolve_axes(shape, found, axes, where)
        self._refuse_layout(where)
        self.volume: Volume
        self.metadata: ImageMetadata
        self.volume, self.metadata = describe_image(self._axes, found, dtype, metadata, voxel_size_um, where)

    def _refuse_layout(self, where: str) -> None:
        y, plane = self._axes.names.index("y"), self._axes.file_shape[-2:]
        keyframe = self._series.keyframe
        if y != len(self._axes.names) - 2 or tuple(keyframe.shape) != plane:
            raise InputError(
                f"{where} stores its planes as {keyframe.axes}, expected YX: save it as OME-TIFF or OME-Zarr"
            )
        try:
            if keyframe.compression != 1:
                tifffile.TIFF.DECOMPRESSORS[keyframe.compression]
            if keyframe.predictor != 1:
                tifffile.TIFF.UNPREDICTORS[keyframe.predictor]
        except KeyError as error:
            raise InputError(f"{where} is compressed: {error.args[0]}; pip install imagecodecs") from None

    def read(self, t: int, c: int, box: Box) -> NDArray[Any]:
        """Return the pixels of a box (z y x positions in the image), axes z y x, native dtype.

        Raises
        ------
        ValueError
            The box is not inside the image.
        CorruptDataError
            A page is missing, cut off, or cannot be decoded; names its index.
        """
        wanted = self._axes.box(t, c, box)
        values = np.empty(wanted.shape, self._dtype)
        leading = self._axes.file_shape[:-2]
        for position in np.ndindex(wanted.shape[:-2]):
            inside = tuple(a + p for a, p in zip(wanted.start, position, strict=False))
            index = int(np.ravel_multi_index(inside, leading)) if leading else 0
            try:
                self._read_plane(index, wanted.slices[-2:], values[position])
            except Exception as error:  # codecs raise anything
                text = str(error) if isinstance(error, EOFError) else f"{type(error).__name__}: {error}"
                raise CorruptDataError(f"page {index} of {self._path} cannot be read: {text}") from error
        return self._axes.to_zyx(values)

    def _read_plane(self, index: int, yx: tuple[slice, ...], out: NDArray[Any]) -> None:
        shape = self._axes.file_shape[-2:]
        if self._offset is not None:
            offset = self._offset + index * math.prod(shape) * self._dtype.itemsize
            out[...] = self._map(self._path, offset, shape)[yx]
            return
        with self._lock:
            page = self._series[index]
        if page is None:
            raise EOFError("the file does not contain this plane")
        if page.is_memmappable:
            out[...] = self._map(_file_of(page), page.dataoffsets[0], shape)[yx]
        else:
            _decode(page, yx, out)

    def _map(self, path: Path, offset: int, shape: tuple[int, ...]) -> NDArray[Any]:
        size = os.path.getsize(path)
        if offset + math.prod(shape) * self._dtype.itemsize > size:
            raise EOFError(f"the file ends at byte {size}, inside or before it")
        return np.memmap(path, self._dtype, "r", offset, shape)

    def stamp(self) -> dict[str, Any]:
        """Return the file's size and the digest of its first and last 64 KiB, where the metadata are."""
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            ends = file.read(_ENDS)
            file.seek(max(0, size - _ENDS))
            ends += file.read(_ENDS)
        return {"bytes": size, "metadata": {self._path.name: hashlib.sha256(ends).hexdigest()[:16]}}

    def files(self) -> list[Path]:
        """Return the file, of a set of files those that have a plane of this level."""
        if not self._series.is_multifile:
            return [self._path]
        with self._lock:
            return sorted({_file_of(page) for page in self._series if page is not None} | {self._path})


def _decode(page: Any, yx: tuple[slice, ...], out: NDArray[Any]) -> None:
    """Decode the strips or tiles of a page that meet the rows and columns ``yx`` into ``out``."""
    key = page.keyframe
    height, width = (key.tilelength, key.tilewidth) if key.is_tiled else (key.rowsperstrip, key.imagewidth)
    columns = -(-key.imagewidth // width)
    (y0, y1), (x0, x1) = ((s.start, s.stop) for s in yx)
    with _file_of(page).open("rb", buffering=0) as file:
        for row in range(y0 // height, (y1 - 1) // height + 1):
            for column in range(x0 // width, (x1 - 1) // width + 1):
                i = row * columns + column
                count = page.databytecounts[i]
                # a segment of 0 bytes is how sparse files leave out what is empty
                data = os.pread(file.fileno(), count, page.dataoffsets[i]) if count else b""
                if len(data) < count:
                    raise EOFError(f"the file ends inside its segment {i}")
                top, left = row * height, column * width
                a, b = max(y0, top), min(y1, top + height)
                p, q = max(x0, left), min(x1, left + width)
                target = out[a - y0 : b - y0, p - x0 : q - x0]
                if not count:
                    target[...] = key.nodata
                    continue
                segment = key.decode(data, i, jpegtables=page.jpegtables)[0]
                plane = segment.reshape(segment.shape[-3:-1])
                target[...] = plane[a - top : b - top, p - left : q - left]


def _file_of(page: Any) -> Path:
    """A page of a multi-file OME-TIFF may be in another file."""
    return Path(page.parent.filehandle.path)


def _level(tif: tifffile.TiffFile, level: int, where: str) -> tifffile.TiffPageSeries:
    if not tif.series:
        raise InputError(f"{where} holds no image")
    first = tif.series[0]
    rivals = sum(series.size >= first.size for series in tif.series[1:])
    if rivals:
        raise InputError(f"{where} holds {rivals + 1} images of full size; save each as a file of its own")
    if level >= len(first.levels):
        shown = ", ".join(f"{i} ({' x '.join(map(str, s.shape))})" for i, s in enumerate(first.levels))
        raise InputError(f"{where} has no level {level}; levels: {shown}. Set input.level")
    return first.levels[level]


def _at_level(metadata: ImageMetadata, full: tifffile.TiffPageSeries, chosen: tifffile.TiffPageSeries) -> ImageMetadata:
    ratios = {a.lower(): n / m for a, n, m in zip(full.axes, full.shape, chosen.shape, strict=False) if m}
    return replace(metadata, scale={a: v * ratios.get(a, 1.0) for a, v in metadata.scale.items()})


def _shape_and_axes(series: tifffile.TiffPageSeries, asked: str | None, where: str) -> tuple[tuple[int, ...], str]:
    """Shape and axes without those of length 1, unless the user names more than are left."""
    squeeze = asked is None or len(asked) <= len(series.get_axes(True))
    shape, axes = series.get_shape(squeeze), series.get_axes(squeeze)
    samples = [n for n, axis in zip(shape, axes, strict=True) if axis == "S"]
    if any(n > 1 for n in samples):
        raise InputError(f"{where} has colour samples (axes {axes}, shape {shape}); expected one intensity per pixel")
    keep = [i for i, axis in enumerate(axes) if axis != "S"]
    return tuple(shape[i] for i in keep), "".join(axes[i] for i in keep)
