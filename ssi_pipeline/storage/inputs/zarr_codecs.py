"""Decoders that check lengths first: of a blosc frame, and of a chunk inside a shard.

Among zarr's codecs only blosc does not detect a truncated frame: the C library gets no length, reads beyond the
buffer and returns foreign values. *Measured* with zarr 3.1.6 and numcodecs 0.16 on
every codec, cut at 18 places each: zstd, gzip, zlib, lz4, bz2, lzma, the checksums and uncompressed chunks raise;
blosc decodes; a shard with its index at the start gives the fill value for chunks beyond its end. Extra bytes after
a complete frame are harmless and accepted.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import zarr
import zarr.codecs.numcodecs
from numcodecs.blosc import Blosc
from zarr.abc.store import ByteGetter, ByteRequest, RangeByteRequest
from zarr.codecs import BloscCodec, ShardingCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, BufferPrototype, NDBuffer
from zarr.core.chunk_grids import RegularChunkGrid
from zarr.core.indexing import get_indexer

_HEADER = 16
"""Bytes of a blosc 1 header; the last four are the length of the frame, little-endian."""


def refuse_short_frame(frame: Any) -> None:
    """Refuse a truncated blosc frame.

    Raises
    ------
    ValueError
        The frame is truncated.
    """
    data = memoryview(frame).cast("B")
    if len(data) < _HEADER:
        raise ValueError(f"truncated: {len(data)} bytes, less than the header of a blosc frame ({_HEADER})")
    (stated,) = struct.unpack_from("<I", data, _HEADER - 4)
    if stated > len(data):
        raise ValueError(f"truncated: the blosc frame states {stated} bytes, found {len(data)}")
    if stated < _HEADER:
        raise ValueError(f"damaged: the blosc frame states a length of {stated} bytes, less than its header")


class CheckedBlosc(Blosc):  # type: ignore[misc]  # numcodecs has no types
    """Blosc of zarr format 2."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode a complete frame."""
        refuse_short_frame(buf)
        return super().decode(buf, out)


class CheckedBloscCodec(BloscCodec):
    """Blosc of zarr format 3."""

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        refuse_short_frame(chunk_bytes.as_numpy_array())
        return await super()._decode_single(chunk_bytes, chunk_spec)

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        refuse_short_frame(chunk_bytes.as_numpy_array())  # some versions of zarr call only this method
        return super()._decode_sync(chunk_bytes, chunk_spec)


class CheckedNumcodecsBlosc(zarr.codecs.numcodecs.Blosc):
    """Blosc of numcodecs in zarr format 3."""

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        refuse_short_frame(chunk_data.as_numpy_array())
        return await super()._decode_single(chunk_data, chunk_spec)


class _WholeRanges:
    """Byte getter that refuses ranges beyond the end of the file, and asks for none twice.

    zarr reads the chunks of a shard one after the other. From an object store ``ahead`` reads them together.
    """

    def __init__(self, inner: ByteGetter) -> None:
        self._inner = inner
        self._read: dict[ByteRequest, Buffer | None] = {}

    async def ahead(self, ranges: Sequence[RangeByteRequest], prototype: BufferPrototype) -> None:
        """Read ranges that will be asked for, by few requests."""
        inner: Any = self._inner
        if not ranges:
            return
        self._read.update(zip(ranges, await inner.store.get_ranges(inner.path, prototype, ranges), strict=True))

    async def get(self, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return the bytes of a range; raise ValueError if the file ends before it."""
        if byte_range is None:
            return await self._inner.get(prototype)
        if byte_range not in self._read:
            self._read[byte_range] = await self._inner.get(prototype, byte_range)
        found = self._read[byte_range]
        if isinstance(byte_range, RangeByteRequest) and found is not None:
            wanted = byte_range.end - byte_range.start
            if len(found) != wanted:
                raise ValueError(
                    f"truncated: the shard's index states bytes {byte_range.start} to {byte_range.end}, "
                    f"found {len(found)} of {wanted}"
                )
        return found


class CheckedShardingCodec(ShardingCodec):
    """Shards of zarr format 3."""

    async def _decode_partial_single(
        self, byte_getter: ByteGetter, selection: Any, shard_spec: ArraySpec
    ) -> NDBuffer | None:
        getter = _WholeRanges(byte_getter)
        if hasattr(getattr(byte_getter, "store", None), "get_ranges"):
            await self._read_ahead(getter, selection, shard_spec)
        return await super()._decode_partial_single(getter, selection, shard_spec)

    async def _read_ahead(self, getter: _WholeRanges, selection: Any, shard_spec: ArraySpec) -> None:
        per_shard = self._get_chunks_per_shard(shard_spec)
        grid = RegularChunkGrid(chunk_shape=self.chunk_shape)
        cells = {cell for cell, *_ in get_indexer(selection, shape=shard_spec.shape, chunk_grid=grid)}
        if self._is_total_shard(cells, per_shard):  # one request anyway
            return
        index = await self._load_shard_index_maybe(getter, per_shard)
        if index is not None:
            found = (index.get_chunk_slice(cell) for cell in sorted(cells))
            await getter.ahead([RangeByteRequest(*part) for part in found if part], shard_spec.prototype)


def with_checked_frames(array: zarr.Array[Any]) -> zarr.Array[Any]:
    """Return the array with decoders that refuse truncated frames, also inside shards."""
    metadata: Any = array.metadata
    if metadata.zarr_format == 2:
        filters = tuple(_checked_numcodec(codec) for codec in metadata.filters or ()) or None
        checked = replace(metadata, compressor=_checked_numcodec(metadata.compressor), filters=filters)
    else:
        checked = replace(metadata, codecs=tuple(_checked(codec) for codec in metadata.codecs))
    inner: Any = array._async_array  # the public constructor takes one
    return zarr.Array(type(inner)(checked, inner.store_path, inner.config))


def _checked_numcodec(codec: Any) -> Any:
    if not isinstance(codec, Blosc):
        return codec
    return CheckedBlosc(**{name: value for name, value in codec.get_config().items() if name != "id"})


def _checked(codec: Any) -> Any:
    if isinstance(codec, ShardingCodec):
        return CheckedShardingCodec(
            chunk_shape=codec.chunk_shape,
            codecs=tuple(_checked(inner) for inner in codec.codecs),
            index_codecs=codec.index_codecs,
            index_location=codec.index_location,
        )
    if isinstance(codec, BloscCodec):
        return CheckedBloscCodec(
            typesize=codec.typesize,
            cname=codec.cname,
            clevel=codec.clevel,
            shuffle=codec.shuffle,
            blocksize=codec.blocksize,
        )
    if isinstance(codec, zarr.codecs.numcodecs.Blosc):
        return CheckedNumcodecsBlosc(**codec.codec_config)
    return codec
