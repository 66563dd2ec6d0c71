"""Zarr store that detects a lost mount.

zarr's LocalStore creates missing parents on the local disk beneath a lost mount, and reads missing chunks as the fill
value. This store does neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import time
import uuid
from pathlib import Path
from typing import Any, Self

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.core.buffer.core import default_buffer_prototype
from zarr.storage import LocalStore

from ssi_pipeline.storage.mount import Mount, make_folders

_READS = 3
_PAUSE_S = 0.1


class MountedStore(LocalStore):
    """Local store whose every operation raises MissingStateError if the mount of its folder is lost."""

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._mount = Mount.of(self.root)

    def with_read_only(self, read_only: bool = False) -> Self:
        """Return the same store, read-only or writable."""
        return type(self)(self.root, read_only=read_only)

    async def _open(self, *, mode: Any = None) -> None:  # noqa: ARG002 as the base has it
        self._ensure_open_sync()

    def _ensure_open_sync(self) -> None:
        self._mount.check()
        self._is_open = True

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return a value, or None."""
        return await asyncio.to_thread(self._read, key, prototype or default_buffer_prototype(), byte_range)

    def get_sync(
        self, key: str, *, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return a value, or None."""
        return self._read(key, prototype or default_buffer_prototype(), byte_range)

    def _read(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None) -> Buffer | None:
        self._is_open = True
        for _ in range(_READS - 1):
            try:
                found = super().get_sync(key, prototype=prototype, byte_range=byte_range)
                break
            except OSError as problem:
                if problem.errno != errno.ESTALE:
                    raise
                time.sleep(_PAUSE_S)  # just replaced by another machine: look the name up again
        else:
            found = super().get_sync(key, prototype=prototype, byte_range=byte_range)
        self._mount.check()
        return found

    async def set(self, key: str, value: Buffer) -> None:
        """Write a value atomically."""
        await asyncio.to_thread(self.set_sync, key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write a value atomically."""
        self._check_writable()
        self._mount.check()
        path = self.root / key
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")  # as zarr names it: swept at a start
        try:
            self._write(temporary, value)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):  # a failure above is the one to report
                temporary.unlink(missing_ok=True)
            raise

    def put(self, key: str, value: Buffer) -> str:
        """Write a whole chunk; there is no ETag."""
        self.set_sync(key, value)
        return ""

    def _write(self, path: Path, value: Buffer) -> None:
        try:
            stream = path.open("wb")
        except FileNotFoundError:
            make_folders(path.parent, self.root)
            stream = path.open("wb")
        with stream:
            stream.write(value.as_buffer_like())


def mounted(folder: Path, writable: bool) -> Store:
    """Return the store of an existing array or group."""
    return MountedStore(folder, read_only=not writable)
