"""Errors and warnings for missing or misplaced chunk files."""

from __future__ import annotations

from typing import Any

import zarr

from ssi_pipeline.errors import InputError
from ssi_pipeline.storage.inputs.foreign import HEAD, describe_pointer
from ssi_pipeline.storage.inputs.zarr_chunks import ChunkFiles, Presence, dangling_link
from ssi_pipeline.storage.store import path_in, store_of


def chunk_files(array: zarr.Array[Any], folder: Any) -> ChunkFiles:
    """Return the file layout of an array: its shards, or its chunks without sharding."""
    step = array.shards or array.chunks
    grid = tuple(-(-n // s) for n, s in zip(array.shape, step, strict=True))
    return ChunkFiles.of(folder, grid, array.metadata.encode_chunk_key((0,) * array.ndim))


def refuse_absent_chunks(files: ChunkFiles, array: zarr.Array[Any], where: str, may_be_empty: bool = False) -> None:
    """Refuse an array without any chunk file at the names given by its metadata; ``may_be_empty``: or elsewhere.

    Raises
    ------
    InputError
        There is none: the data were deleted or have other names.
    """
    if files.first() is not None:
        return
    first = files.name((0,) * len(files.grid))
    message = f"{where}: no chunk file has a name given by the metadata, for instance {first} in {files.folder}; "
    other = files.elsewhere()
    if other is None and may_be_empty:
        return
    if other is not None:
        found = other.name((0,) * len(files.grid))
        raise InputError(f"{message}there are chunks named like {found}: {_advice(files, other, array)}")
    raise InputError(message + _what_is_there(files, array))


def describe_chunks(files: ChunkFiles, array: zarr.Array[Any]) -> list[str]:
    """Return notes on chunk files that are missing or outside the array's shape."""
    try:
        presence = files.count()
    except OSError as error:
        return [f"cannot count the chunk files of {files.folder}: {error}"]
    notes = [] if presence.complete else [_describe_absent(files, presence, array)]
    if presence.outside is not None:
        notes.append(
            f"chunk files lie outside of the stated shape {array.shape}, for instance {presence.outside}: they are "
            "ignored. The array may have been shrunk, or its metadata are older than its data"
        )
    return notes


def _describe_absent(files: ChunkFiles, presence: Presence, array: zarr.Array[Any]) -> str:
    fill = array.metadata.fill_value
    value = "0 (the metadata name no fill value)" if fill is None else f"the fill value {fill!s}"
    note = (
        f"{presence.describe_absent()} ({files.folder}); their voxels are read as {value}: correct if the writer "
        "omitted chunks of only that value (zarr's default), wrong if data were lost or are not copied yet"
    )
    other = files.elsewhere()
    return note if other is None else f"{note}; there are also chunks named like {other.name((0,) * len(files.grid))}"


def _advice(files: ChunkFiles, other: ChunkFiles, array: zarr.Array[Any]) -> str:
    if array.metadata.zarr_format == 2 and not other.prefix:
        return (
            f'.zarray has (or defaults to) dimension_separator "{files.separator}"; '
            f'set "dimension_separator": "{other.separator}" in it'
        )
    encoding = "default" if other.prefix else "v2"
    return f'the chunk_key_encoding should be "{encoding}" with separator (dimension_separator) "{other.separator}"'


def _what_is_there(files: ChunkFiles, array: zarr.Array[Any]) -> str:
    name = "dimension_separator" if array.metadata.zarr_format == 2 else "chunk_key_encoding"
    example = files.example()
    if example is None:
        return (
            f"the folder contains no chunk: everything would be read as the fill value {array.metadata.fill_value!s}. "
            "Copy the input again with its chunks"
        )
    if dangling_link(example, files.folder):
        return f"{example} is a dangling link: fetch its target (git annex get, or mount its disk)"
    return f"existing files are named like {path_in(files.folder, example)}: check {name} in the metadata"


def refuse_pointers(files: ChunkFiles, where: str) -> None:
    """Refuse an array whose first chunk is a version-control pointer.

    Raises
    ------
    InputError
        It is one.
    """
    file = files.first()
    if file is None:
        return
    store, key = store_of(files.folder), path_in(files.folder, file)
    found = store.look(key)
    if found is None or found.size >= HEAD:
        return
    pointer = describe_pointer(store.read(key))
    if pointer is not None:
        raise InputError(f"{where}: chunk {file} {pointer}")
