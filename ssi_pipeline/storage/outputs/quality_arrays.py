"""Group ``quality/`` of an output: metrics on the tile grid, as one xarray dataset."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import StoreError
from ssi_pipeline.storage.inputs.zarr_consolidated import consolidate
from ssi_pipeline.storage.outputs.checksums import compressors, with_checksums
from ssi_pipeline.storage.outputs.output_store import output_store
from ssi_pipeline.storage.outputs.zarr_metadata import read_document
from ssi_pipeline.storage.store import open_array, store_of

if TYPE_CHECKING:
    import zarr
    from zarr.abc.buffer import Buffer

QUALITY = "quality"
"""Name of the group in the output."""

TILE_DIMENSIONS = ("tile_t", "tile_c", "tile_z", "tile_y", "tile_x")
"""Dimension names of the tile grid, which must differ from those of the image."""

_LEVEL = 3
"""zstd level; the whole group has a few megabytes at a million tiles."""


@dataclass(frozen=True, slots=True)
class QualityArray:
    """One array of the group: values, dimension names and attributes."""

    name: str
    values: NDArray[Any]
    dimensions: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


def read_quality(path: Place, name: str) -> NDArray[np.float32] | None:
    """Return one metric on the tile grid (t c z y x), or None if not written."""
    found = _read(path / QUALITY / name)
    return None if found is None else found[1]


def read_whole_quality(path: Place, name: str, grid: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Return one metric on the tile grid (t c z y x), or None if it has another shape or not all of its chunks.

    A chunk whose file is missing silently reads as NaN; one whose file is empty is lost, too.
    """
    found = _read(path / QUALITY / name)
    if found is None or found[1].shape != grid:
        return None
    array, values = found
    store = store_of(path / QUALITY / name)
    cells = itertools.product(*(range(-(-n // c)) for n, c in zip(array.shape, array.chunks, strict=True)))
    files = (store.look(array.metadata.encode_chunk_key(cell)) for cell in cells)
    return values if all(file is not None and file.size > 0 for file in files) else None


def _read(place: Place) -> tuple[zarr.Array[Any], NDArray[np.float32]] | None:
    try:
        array = open_array(place)
        return array, np.asarray(array[...], np.float32)
    except StoreError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError):
        return None


def write_quality(
    path: Place, metrics: Sequence[QualityArray], coordinates: Sequence[QualityArray], attributes: Mapping[str, Any]
) -> None:
    """Rewrite the group. Only the client calls this.

    It is complete or absent: in a folder by a rename, in an object store as its metadata are written last; one that is
    rewritten there has new values array by array. Its metadata are consolidated for fast opening over a network. (Those
    of the whole output are not: a second copy of its status could become stale.)
    """
    output_store(path).replace(QUALITY, _group_files(path, metrics, coordinates, attributes).items())


def _group_files(
    path: Place, metrics: Sequence[QualityArray], coordinates: Sequence[QualityArray], attributes: Mapping[str, Any]
) -> dict[str, bytes]:
    import zarr
    from zarr.storage import MemoryStore

    made: dict[str, Buffer] = {}
    memory = MemoryStore(made)
    zarr_format: Literal[2, 3] = 2 if read_document(path / "zarr.json") is None else 3
    # CF attribute for non-dimension coordinates
    others = " ".join(a.name for a in coordinates if a.dimensions != (a.name,))
    group = zarr.create_group(
        memory, zarr_format=zarr_format, attributes={**attributes, **({"coordinates": others} if others else {})}
    )
    for array in (*coordinates, *metrics):
        _write(group, array)
    consolidate(memory, zarr_format)
    return {name: content.to_bytes() for name, content in made.items()}


def _write(group: zarr.Group, array: QualityArray) -> None:
    three = group.metadata.zarr_format == 3
    names = {} if three else {"_ARRAY_DIMENSIONS": list(array.dimensions)}
    created = group.create_array(
        array.name,
        shape=array.values.shape,
        chunks=_chunks(array.values.shape),
        dtype=array.values.dtype,
        # xarray masks the fill value of format 2: it must not be the position of a tile
        fill_value=float("nan") if array.values.dtype.kind == "f" else -1,
        compressors=compressors(group.metadata.zarr_format, _LEVEL),
        dimension_names=array.dimensions if three else None,
        attributes={**array.attributes, **names},
    )
    # all-NaN chunks are written too: a missing file is a lost one
    with_checksums(created).with_config({"write_empty_chunks": True})[...] = array.values


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Halve the longest axis until a chunk has at most a million values."""
    chunks = list(shape)
    while math.prod(chunks) > 2**20:
        longest = chunks.index(max(chunks))
        chunks[longest] = -(-chunks[longest] // 2)
    return tuple(chunks)
