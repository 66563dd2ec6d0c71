"""What is said of an array whose chunk files are not where its metadata say, or not all there."""

from __future__ import annotations

from typing import Any

import zarr

from ssi_pipeline.errors import InputError
from ssi_pipeline.storage.inputs.foreign import HEAD, describe_pointer
from ssi_pipeline.storage.inputs.zarr_chunks import ChunkFiles, Presence, dangling_link


def chunk_files(array: zarr.Array[Any], folder: Any) -> ChunkFiles:
    """Return where the files of an array lie: its shards, or its chunks where it has none."""
    step = array.shards or array.chunks
    grid = tuple(-(-n // s) for n, s in zip(array.shape, step, strict=True))
    return ChunkFiles.of(folder, grid, array.metadata.encode_chunk_key((0,) * array.ndim))


def refuse_absent_chunks(files: ChunkFiles, array: zarr.Array[Any], where: str) -> None:
    """Refuse an array of which no chunk file is where its metadata say.

    Raises
    ------
    InputError
        None is there: data were deleted, or lie under other names.
    """
    if files.first() is not None:
        return
    first = files.name((0,) * len(files.grid))
    message = f"{where}: no chunk is where the metadata say, for instance {first} in {files.folder}; "
    other = files.elsewhere()
    if other is not None:
        found = other.name((0,) * len(files.grid))
        raise InputError(f"{message}the chunks are there under names like {found}: {_cure(files, other, array)}")
    raise InputError(message + _what_is_there(files, array))


def describe_chunks(files: ChunkFiles, array: zarr.Array[Any]) -> list[str]:
    """Return the notes on an array of which chunk files are absent, or lie outside of its shape."""
    try:
        presence = files.count()
    except OSError as error:
        return [f"the chunk files of {files.folder} could not be counted: {error}"]
    notes = [] if presence.complete else [_describe_absent(files, presence, array)]
    if presence.outside is not None:
        notes.append(
            f"chunk files lie outside of the stated shape {array.shape}, for instance {presence.outside}: they are not "
            "read. Was the array larger once, or are its metadata older than its data?"
        )
    return notes


def _describe_absent(files: ChunkFiles, presence: Presence, array: zarr.Array[Any]) -> str:
    fill = array.metadata.fill_value
    value = "0 (the metadata name no fill value)" if fill is None else f"the fill value {fill!s}"
    note = (
        f"{presence.describe_absent()} ({files.folder}); their voxels are read as {value}: right if the writer left "
        "out chunks that hold nothing else (zarr's default), wrong if data were lost or are not copied yet"
    )
    other = files.elsewhere()
    return note if other is None else f"{note}; there are chunks named like {other.name((0,) * len(files.grid))} too"


def _cure(files: ChunkFiles, other: ChunkFiles, array: zarr.Array[Any]) -> str:
    if array.metadata.zarr_format == 2 and not other.prefix:
        return (
            f'.zarray says, or leaves it at, dimension_separator "{files.separator}"; '
            f'set "dimension_separator": "{other.separator}" in it'
        )
    encoding = "default" if other.prefix else "v2"
    return f'the chunk_key_encoding should be "{encoding}" with separator (dimension_separator) "{other.separator}"'


def _what_is_there(files: ChunkFiles, array: zarr.Array[Any]) -> str:
    name = "dimension_separator" if array.metadata.zarr_format == 2 else "chunk_key_encoding"
    example = files.example()
    if example is None:
        return (
            f"the folder holds no chunk at all: all would be read as the fill value {array.metadata.fill_value!s}. "
            "Copy the input again, with its chunks"
        )
    if dangling_link(example, files.folder):
        return f"{example} is a link to nothing: fetch what it points to (git annex get, or mount its disk)"
    return f"what is there is named like {example.relative_to(files.folder)}: does {name} in the metadata fit?"


def refuse_pointers(files: ChunkFiles, where: str) -> None:
    """Refuse an array whose chunks are pointers of version control, by the first one found.

    Raises
    ------
    InputError
        It is one.
    """
    file = files.first()
    if file is None or file.stat().st_size >= HEAD:
        return
    pointer = describe_pointer(file.read_bytes())
    if pointer is not None:
        raise InputError(f"{where}: chunk {file} {pointer}")
