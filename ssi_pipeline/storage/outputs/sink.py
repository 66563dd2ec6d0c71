"""Sink: a sharded, compressed and checksummed OME-Zarr image, written shard by shard.

Only the client creates arrays and writes metadata. A task writes whole shards only, each in one
assignment: two writers of one shard would silently lose data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import CorruptDataError, DamagedStateError, MissingStateError, OutputError, StoreError
from ssi_pipeline.geometry import Box
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.storage.entry import Entry
from ssi_pipeline.storage.outputs.checksums import with_checksums
from ssi_pipeline.storage.store import store_of
from ssi_pipeline.storage.system_errors import writing

if TYPE_CHECKING:
    import zarr
    from zarr.abc.buffer import Buffer


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: its size in bytes, and its ETag, which files do not have."""

    size: int
    etag: str


@dataclass(frozen=True)
class Sink:
    """An opened output. ``axes`` are those on disk; positions are given as t, c and a box z y x."""

    path: Place
    axes: str
    shard: Ints
    writable: bool

    @cached_property
    def group(self) -> zarr.Group:
        """The OME-Zarr group."""
        import zarr

        return zarr.open_group(store_of(self.path).zarr(writable=self.writable), mode="r+" if self.writable else "r")

    def level(self, level: int) -> zarr.Array[Any]:
        """Return the array of one pyramid level."""
        if level not in self._levels:
            self._levels[level] = self._open(level)
        return self._levels[level]

    @cached_property
    def _levels(self) -> dict[int, zarr.Array[Any]]:
        return {}

    def _open(self, level: int) -> zarr.Array[Any]:
        import zarr

        mode: Literal["r", "r+"] = "r+" if self.writable else "r"
        folder = self.path / str(level)
        place = store_of(folder).zarr(writable=self.writable)
        try:
            # blocks of zeros are written too: a missing file is a lost one. `open_array` ignores
            # `config`
            return with_checksums(zarr.open_array(place, mode=mode)).with_config({"write_empty_chunks": True})
        except FileNotFoundError as error:
            raise MissingStateError(f"{folder} cannot be opened: its metadata are not accessible") from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise DamagedStateError(
                f"{folder} cannot be opened ({error}): the next start writes its metadata"
            ) from error

    def write(self, level: int, t: int, c: int, box: Box, values: NDArray[Any]) -> Written:
        """Write one whole shard (or the part of it that is inside the array): one file, or one object by one request.

        Raises
        ------
        OutputError
            The box is not exactly one shard, or the values do not have its shape and the array's dtype.
        """
        array = self.level(level)
        extent = self._extent(array)
        for a, b, s, n in zip(box.start, box.stop, self.shard, extent, strict=True):
            if a % s or b != min(a + s, n):
                raise OutputError(
                    f"{box} is not one shard of shape {self.shard} in {extent}: refused to avoid data loss"
                )
        if values.shape != box.shape or values.dtype != array.dtype:
            raise OutputError(
                f"expected {array.dtype} values of shape {box.shape}, got {values.dtype} of shape {values.shape}"
            )
        with writing(self.file_of(level, t, c, box)):
            key, content = _encoded(array, self._index(t, c, box), values.reshape(self._squeezed(box)))
            place: Any = array.store_path
            return Written(len(content), place.store.put(f"{place.path}/{key}".lstrip("/"), content))

    def read(self, level: int, t: int, c: int, box: Box) -> NDArray[Any]:
        """Return the values on a box (z y x).

        Raises
        ------
        CorruptDataError
            A chunk fails its checksum or cannot be decoded.
        """
        try:
            values = np.asarray(self.level(level)[self._index(t, c, box)])
        except StoreError:
            raise
        except (ValueError, OSError, RuntimeError) as error:
            raise CorruptDataError(f"level {level}, t {t}, c {c}, {box} of {self.path}: {error}") from error
        return values.reshape(box.shape)

    def stored_bytes(self, level: int, t: int, c: int, box: Box) -> int:
        """Return the size of the shard's file, 0 where it is missing."""
        found = self.look(level, t, c, box)
        return 0 if found is None else found.size

    def look(self, level: int, t: int, c: int, box: Box) -> Entry | None:
        """Return size and ETag of the shard's file; None where it is missing."""
        return store_of(self.path).look(self._key(level, t, c, box))

    def listed(self, level: int) -> Iterator[tuple[tuple[int, ...], Entry]]:
        """Yield the place (t c z y x, in shards) and what is known of each shard of a level, by listing them."""
        prefix = f"{level}/c/" if self.level(level).metadata.zarr_format == 3 else f"{level}/"
        for entry in store_of(self.path).list(str(level)):
            numbers = entry.key.removeprefix(prefix).split("/")
            if len(numbers) == len(self.axes) and all(map(str.isdecimal, numbers)):
                cell = dict(zip(self.axes, map(int, numbers), strict=True))
                yield tuple(cell.get(axis, 0) for axis in "tczyx"), entry

    def file_of(self, level: int, t: int, c: int, box: Box) -> Place:
        """Return the file of one shard."""
        return self.path / self._key(level, t, c, box)

    def _key(self, level: int, t: int, c: int, box: Box) -> str:
        cell = dict(zip("zyx", (a // s for a, s in zip(box.start, self.shard, strict=True)), strict=True))
        cell |= {"t": t, "c": c}
        key = "/".join(str(cell[axis]) for axis in self.axes)
        prefix = "c/" if self.level(level).metadata.zarr_format == 3 else ""
        return f"{level}/{prefix}{key}"

    def _index(self, t: int, c: int, box: Box) -> tuple[int | slice, ...]:
        by_axis: dict[str, int | slice] = {"t": t, "c": c, **dict(zip("zyx", box.slices, strict=True))}
        return tuple(by_axis[axis] for axis in self.axes)

    def _squeezed(self, box: Box) -> Ints:
        return tuple(n for axis, n in zip("zyx", box.shape, strict=True) if axis in self.axes)

    def _extent(self, array: zarr.Array[Any]) -> Ints:
        sizes = dict(zip(self.axes, array.shape, strict=True))
        return tuple(sizes.get(axis, 1) for axis in "zyx")


def _encoded(array: zarr.Array[Any], index: tuple[int | slice, ...], values: NDArray[Any]) -> tuple[str, Buffer]:
    """Return key and content of the one chunk that ``index`` covers; nothing is read: all of it is written."""
    import zarr
    from zarr.storage import MemoryStore, StorePath

    made: dict[str, Buffer] = {}
    memory: Any = zarr.AsyncArray(metadata=array.metadata, store_path=StorePath(MemoryStore(made)), config=array.config)
    zarr.Array(memory)[index] = values
    ((key, content),) = made.items()
    return key, content


def stored_together(sinks: Sequence[Sink], level: int, t: int, c: int, box: Box) -> int:
    """Return the total size of one shard's files in several images, 0 if one is missing."""
    sizes = [sink.stored_bytes(level, t, c, box) for sink in sinks]
    return sum(sizes) if all(sizes) else 0


def to_dtype(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Convert estimates to the output's dtype: rounded and clipped to its range, never rescaled."""
    target = np.dtype(dtype)
    if target.kind == "f":
        limit = np.finfo(target).max
        return np.asarray(np.clip(values, -limit, limit).astype(target))
    low, high = representable(dtype)
    return np.asarray(np.clip(np.rint(np.asarray(values, np.float64)), low, high).astype(target))


def representable(dtype: str) -> tuple[float, float]:
    """Return the lowest and the highest value of a dtype as floats that convert back without overflow."""
    target = np.dtype(dtype)
    if target.kind == "f":
        return float(np.finfo(target).min), float(np.finfo(target).max)
    info = np.iinfo(target)
    high = float(info.max)
    # the largest 64-bit integers have no exact float64: take the next lower one
    return float(info.min), high if int(high) <= info.max else math.nextafter(high, 0.0)
