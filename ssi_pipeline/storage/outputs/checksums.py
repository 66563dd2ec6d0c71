"""Checksums of chunks, so that reading detects flipped bits in every written array."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import zarr


def compressors(zarr_format: int, level: int) -> Any:
    """Return the compressors of a new array.

    Format 3: crc32c comes after zstd, inside the shard. Format 2 has no crc32c codec that readers share, but a zstd
    frame may carry a checksum of its own, which every decoder verifies. Its metadata must not say so: ``checksum``
    is no key of theirs that all readers know (tensorstore refuses it), so writers add it (``with_checksums``).
    """
    from numcodecs import Zstd
    from zarr.codecs import Crc32cCodec, ZstdCodec

    return [ZstdCodec(level=level), Crc32cCodec()] if zarr_format == 3 else Zstd(level=level)


def with_checksums(array: zarr.Array[Any]) -> zarr.Array[Any]:
    """Return the array for writing with checksums, also where its metadata cannot declare them."""
    import zarr
    from numcodecs import Zstd

    metadata: Any = array.metadata
    if metadata.zarr_format == 3 or not isinstance(metadata.compressor, Zstd):
        return array
    checked = replace(metadata, compressor=Zstd(level=metadata.compressor.level, checksum=True))
    return zarr.Array(zarr.AsyncArray(metadata=checked, store_path=array.store_path, config=array.config))
