"""TIFF, OME-TIFF and ImageJ stacks, read plane by plane and never whole."""

from __future__ import annotations

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

from ssi_pipeline.config.fingerprint import short_digest
from ssi_pipeline.errors import CorruptDataError, InputError
from ssi_pipeline.geometry import Box, Volume
from ssi_pipeline.storage.inputs.axes import describe_doubt, native_dtype, resolve_axes
from ssi_pipeline.storage.inputs.file_stamp import file_stamp
from ssi_pipeline.storage.inputs.tiff_metadata import read_tiff_metadata
from ssi_pipeline.storage.inputs.tiff_planes import decode_plane, file_of, is_in_one_piece
from ssi_pipeline.storage.outputs.image_metadata import ImageMetadata
from ssi_pipeline.storage.outputs.ome import describe_image
from ssi_pipeline.tiff.codec import refuse_codec, refuse_undecodable
from ssi_pipeline.tiff.colours import refuse_colours
from ssi_pipeline.tiff.completeness import refuse_level_outside
from ssi_pipeline.tiff.opening import OpenTiff, open_tiff


class TiffSource:
    """One resolution level of an image in a TIFF, or in a set of OME-TIFF files.

    Uncompressed planes are memory-mapped per read: a permanent map would count all touched pages as memory of the
    process, which exceeds the limits of workers. For compressed planes only the strips or tiles of a box are read and
    decoded.

    Parameters
    ----------
    path
        The file; of a set its master, or the ``.companion.ome`` file.
    level
        Index of the resolution level (SubIFDs).
    axes
        Axes given by the user, or None.
    voxel_size_um
        Voxel size given by the user (z y x, 0 where not given), or None.
    scene
        Which image of a file with several; None: its only one.
    """

    def __init__(
        self,
        path: Path,
        level: int,
        axes: str | None,
        voxel_size_um: tuple[float, float, float] | None,
        scene: int | None = None,
    ) -> None:
        self._path, self._lock = path, threading.Lock()
        self._opened = open_tiff(path, f"input {path}", scene)
        # pages are loaded lazily; the file is closed with the source
        self.close = weakref.finalize(self, self._opened.tif.close)
        try:
            self._open(self._opened, level, axes, voxel_size_um)
        except Exception:
            self.close()
            raise

    def _open(
        self, opened: OpenTiff, level: int, axes: str | None, voxel_size_um: tuple[float, float, float] | None
    ) -> None:
        where = f"input {self._path}"
        try:
            series = _level(opened.image, level, where)
            if level:
                refuse_level_outside(series, where)
            self._series, self._page_shape = series, tuple(series.keyframe.shape)
            self._file = file_of(series.keyframe)  # of a set, images may have files of their own
            refuse_colours(series.keyframe, where)
            refuse_codec(series.keyframe, where)
            refuse_undecodable(series.keyframe, where)
            metadata = _at_level(read_tiff_metadata(opened.tif, opened.scene), opened.image, series)
            self._offset = None if series.is_multifile else series.dataoffset
            self._dtype = np.dtype(series.dtype).newbyteorder(opened.tif.byteorder)
            dtype = native_dtype(self._dtype, where)
            shape, found = _shape_and_axes(series, axes, where)
        except InputError:
            raise
        except Exception as error:  # tifffile's own, struct.error, ValueError ... on broken directories and metadata
            raise InputError(f"{where} is not a readable TIFF: {type(error).__name__}: {error}") from error
        self._axes = resolve_axes(shape, found, axes, where)
        self._doubt = "" if axes is not None or metadata.omero else describe_doubt(self._axes)
        self._refuse_layout(found, where)
        self.volume: Volume
        self.metadata: ImageMetadata
        self.volume, self.metadata = describe_image(self._axes, found, dtype, metadata, voxel_size_um, where)

    def _refuse_layout(self, found: str, where: str) -> None:
        key, own = self._series.keyframe, self._page_shape
        if self._axes.file_shape[-len(own) :] != own or (key.axes not in _PAGES and self._offset is None):
            raise InputError(
                f"{where} stores its planes as {key.axes} {own} in an image of shape {self._axes.file_shape}; "
                "expected planes YX: save it as OME-TIFF or OME-Zarr"
            )
        sample = found.find("S")
        if sample >= 0 and self._axes.names[sample] in "yx":
            raise InputError(
                f"{where}: input.axes calls the {self._axes.file_shape[sample]} samples of a pixel "
                f"{self._axes.names[sample]} (axes {found.lower()}); expected c or z there, "
                f"e.g. axes: {_with_channels(found)}"
            )

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings about a readable input: skipped data, doubtful axes."""
        return (*self._opened.notes(), *filter(None, [self._doubt]))

    def read(self, t: int, c: int, box: Box) -> NDArray[Any]:
        """Return the pixels of a box (z y x positions in the image), axes z y x, native dtype.

        Raises
        ------
        ValueError
            The box is not inside the image.
        CorruptDataError
            A page is missing, truncated or cannot be decoded; names its index.
        """
        wanted = self._axes.box(t, c, box)
        values = np.empty(wanted.shape, self._dtype)
        many = len(self._axes.file_shape) - len(self._page_shape)
        leading = self._axes.file_shape[:many]
        for position in np.ndindex(wanted.shape[:many]):
            inside = tuple(a + p for a, p in zip(wanted.start, position, strict=False))
            index = int(np.ravel_multi_index(inside, leading)) if leading else 0
            try:
                self._read_plane(index, wanted.slices[many:], values[position])
            except Exception as error:  # codecs raise anything
                text = str(error) if isinstance(error, EOFError) else f"{type(error).__name__}: {error}"
                raise CorruptDataError(f"page {index} of {self._path} cannot be read: {text}") from error
        return self._axes.to_zyx(values)

    def _read_plane(self, index: int, inside: tuple[slice, ...], out: NDArray[Any]) -> None:
        shape = self._page_shape
        if self._offset is not None:
            offset = self._offset + index * math.prod(shape) * self._dtype.itemsize
            out[...] = self._map(self._file, offset, shape)[inside]
            return
        with self._lock:
            page = self._series[index]
        if page is None:
            raise EOFError("the file does not contain this plane")
        if page.is_memmappable and is_in_one_piece(page):
            out[...] = self._map(file_of(page), page.dataoffsets[0], shape)[inside]
        else:
            decode_plane(page, inside, out)

    def _map(self, path: Path, offset: int, shape: tuple[int, ...]) -> NDArray[Any]:
        size = os.path.getsize(path)
        if offset + math.prod(shape) * self._dtype.itemsize > size:
            raise EOFError(f"the file ends at byte {size}, inside or before it")
        return np.memmap(path, self._dtype, "r", offset, shape)

    def stamp(self) -> dict[str, Any]:
        """Return the file's size and the digest of its first and last 64 KiB, which contain the metadata.

        For a set of files: also names and sizes of the others.
        """
        found = file_stamp(self._path)
        members = [f"{file.name} {file.stat().st_size}" for file in self._opened.members]
        of_set = {"members": short_digest("\n".join(members).encode())} if members else {}
        return {**found, "metadata": found["metadata"] | of_set}

    def files(self) -> list[Path]:
        """Return the files with a plane of this level."""
        if not self._series.is_multifile:
            return sorted({self._path, self._file})
        with self._lock:
            return sorted({file_of(page) for page in self._series if page is not None} | {self._path})


_PAGES = ("YX", "SYX", "YXS")
"""Page axes that support partial reads; others only if uncompressed and contiguous."""


def _level(first: tifffile.TiffPageSeries, level: int, where: str) -> tifffile.TiffPageSeries:
    if level >= len(first.levels):
        shown = ", ".join(f"{i} ({' x '.join(map(str, s.shape))})" for i, s in enumerate(first.levels))
        raise InputError(f"{where} has no level {level}; levels: {shown}. Set input.level")
    return first.levels[level]


def _at_level(metadata: ImageMetadata, full: tifffile.TiffPageSeries, chosen: tifffile.TiffPageSeries) -> ImageMetadata:
    ratios = {a.lower(): n / m for a, n, m in zip(full.axes, full.shape, chosen.shape, strict=False) if m}
    return replace(metadata, scale={a: v * ratios.get(a, 1.0) for a, v in metadata.scale.items()})


def _shape_and_axes(series: tifffile.TiffPageSeries, asked: str | None, where: str) -> tuple[tuple[int, ...], str]:
    """Return shape and axes without those of length 1, unless the user names more.

    Samples per pixel (S) count as an axis only if the user names it: three planes may have been stored as colours.
    """
    squeeze = asked is None or len(asked) <= len(series.get_axes(True))
    shape, axes = series.get_shape(squeeze), series.get_axes(squeeze)
    keep = [i for i, axis in enumerate(axes) if axis != "S" or shape[i] > 1]
    shape, axes = tuple(shape[i] for i in keep), "".join(axes[i] for i in keep)
    if "S" in axes and asked is None:
        raise InputError(
            f"{where} has colour samples (axes {axes}, shape {shape}); expected one intensity per pixel. "
            f"If they are planes or channels, set input.axes, e.g. axes: {_suggested(axes)}; "
            "otherwise convert the image to grey"
        )
    return shape, axes


def _suggested(axes: str) -> str:
    """Return likely axes: leading samples are planes, interleaved samples are channels."""
    return "zyx" if axes == "SYX" else _with_channels(axes)


def _with_channels(axes: str) -> str:
    others = axes.replace("S", "")
    free = "c" if "C" not in others else "z"
    known = iter("tczyx"[5 - len(axes) :].replace(free, "").replace("x", "").replace("y", ""))
    return "".join(free if a == "S" else a.lower() if a in "TCZYX" else next(known, "t") for a in axes)
