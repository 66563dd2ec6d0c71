"""Zarr's view of an object store: requests that fail raise, and an empty object is no chunk of fill values."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import obstore
from zarr.abc.store import ByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import ObjectStore as ZarrObjectStore

from ssi_pipeline.config.url import Url
from ssi_pipeline.errors import CorruptDataError, StoreError
from ssi_pipeline.storage.object_errors import lost, translated

_GAP = 2**20
"""Bytes between two ranges that are read along rather than asked for anew: about what a request costs in time."""


_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs")


class ObjectZarr(ZarrObjectStore[Any]):
    """zarr's store of a whole bucket or host, for one group or array in it.

    ``client``: obstore's store of the bucket. ``folder``: the group or array.
    """

    def __init__(self, client: Any, folder: Url, *, read_only: bool = False) -> None:
        super().__init__(client, read_only=read_only)
        self._folder = folder
        self._root = Url(folder.root, (), folder.storage)

    def with_read_only(self, read_only: bool = False) -> Self:
        """Return the same store, read-only or writable."""
        return type(self)(self.store, self._folder, read_only=read_only)

    def __str__(self) -> str:
        return str(self._root)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return a value; None where there is no such object, while the metadata of the folder are there.

        Raises
        ------
        CorruptDataError
            The object is empty, or ends before the range.
        StoreError
            The request fails.
        """
        least = byte_range.suffix if isinstance(byte_range, SuffixByteRequest) else 0
        least = byte_range.end if isinstance(byte_range, RangeByteRequest) else least
        async with self._of_length(key, least):
            found = await super().get(key, prototype, byte_range)
        if found is None and key.rpartition("/")[2] not in _METADATA:
            await self._refuse_lost()
        if found is not None and byte_range is None and len(found) == 0:
            raise CorruptDataError(f"{self._root / key} is an empty object")
        return found

    def put(self, key: str, value: Buffer) -> str:
        """Write a whole chunk by one request; returns its ETag, empty where the store tells none."""
        with translated(self._root / key):
            return self.store.put(key, value.as_buffer_like(), use_multipart=False)["e_tag"] or ""

    async def _refuse_lost(self) -> None:
        """Tell an absent chunk from a bucket that was lost: as on a lost mount, all would be read as fill values.

        Raises
        ------
        StoreError
            There is no metadata any more.
        """
        with translated(self._folder):
            for name in _METADATA:
                if await self.exists((self._folder / name).key):
                    return
        raise lost(self._folder)

    async def get_ranges(
        self, key: str, prototype: BufferPrototype, ranges: Sequence[RangeByteRequest]
    ) -> list[Buffer]:
        """Return ranges of an object by few requests: neighbouring ones are joined."""
        starts, ends = [wanted.start for wanted in ranges], [wanted.end for wanted in ranges]
        async with self._of_length(key, max(ends)):
            found = await obstore.get_ranges_async(self.store, key, starts=starts, ends=ends, coalesce=_GAP)
        return [prototype.buffer.from_bytes(bytes(content)) for content in found]

    @asynccontextmanager
    async def _of_length(self, key: str, least: int) -> AsyncIterator[None]:
        """Tell a truncated object from a store that does not answer: both refuse a range.

        Raises
        ------
        CorruptDataError
            The object has fewer bytes than ``least``.
        """
        place = self._root / key
        try:
            with translated(place):
                yield
        except StoreError as error:
            if least and not isinstance(error, PermissionError):
                with translated(place):
                    size = (await obstore.head_async(self.store, key))["size"]
                if size < least:
                    raise CorruptDataError(f"{place} has {size} bytes, expected {least} or more: truncated") from error
            raise
