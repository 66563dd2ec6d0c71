"""The output as a whole: its creation, its metadata, and what it says of itself. Only the client writes these."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import Zstd
from numpy.typing import NDArray
from zarr.abc.store import Store
from zarr.codecs import Crc32cCodec, ZstdCodec

from ssi_pipeline.config import OutputConfig
from ssi_pipeline.errors import OutputError
from ssi_pipeline.geometry import TilePlan, Volume
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.geometry.pyramid import PyramidPlan
from ssi_pipeline.storage.atomic import sync, sync_tree
from ssi_pipeline.storage.multiscales import multiscales
from ssi_pipeline.storage.system_errors import writing
from ssi_pipeline.storage.zarr_metadata import edit_attributes, read_attributes, read_document

UNCERTAINTY = "uncertainty"
"""Name of the image in the output that says how far off each pixel may be."""

OWNER = "ssi_pipeline"
"""Attribute of the output's group that marks it as ours; holds status and provenance."""


def create_output(
    path: Path | Store,
    section: OutputConfig,
    volume: Volume,
    dtype: str,
    plan: TilePlan,
    pyramid: PyramidPlan,
    metadata: Mapping[str, Any],
    origin: Mapping[str, int],
    provenance: Mapping[str, Any],
) -> None:
    """Create the group and the arrays of all levels, marked as incomplete, in a folder or a store of zarr.

    Its uncertainty is an image of its own inside, of the full resolution alone.
    """
    version = section.ome_zarr
    group = zarr.create_group(path, zarr_format=3 if version == "0.5" else 2)
    document: Any = multiscales(version, section.path.stem, volume, metadata, pyramid.factors, origin)
    ome: dict[str, Any] = {"multiscales": [document]} | ({"omero": metadata["omero"]} if metadata.get("omero") else {})
    ours: dict[str, Any] = {OWNER: {"status": "incomplete", "provenance": dict(provenance)}}
    group.attrs.update({"ome": {"version": version, **ome}, **ours} if version == "0.5" else {**ome, **ours})
    for level, shape in enumerate(pyramid.shapes):
        _create_level(group, level, volume.axes, (*pyramid.planes, *shape), dtype, pyramid.shard, plan.chunk, section)
    if section.uncertainty:
        beside = group.create_group(UNCERTAINTY)
        document = multiscales(version, UNCERTAINTY, volume, metadata, pyramid.factors[:1], origin)
        ome = {"multiscales": [document]}
        beside.attrs.update({"ome": {"version": version, **ome}} if version == "0.5" else ome)
        whole = (*pyramid.planes, *pyramid.shapes[0])
        _create_level(beside, 0, volume.axes, whole, "float32", pyramid.shard, plan.chunk, section)


def _create_level(
    group: zarr.Group, level: int, axes: str, shape: Ints, dtype: str, shard: Ints, chunk: Ints, section: OutputConfig
) -> None:
    def on_disk(tczyx: Ints) -> Ints:
        """Return the entries of the axes that the output has."""
        return tuple(n for axis, n in zip("tczyx", tczyx, strict=True) if axis in axes)

    if section.ome_zarr == "0.5":
        group.create_array(
            str(level),
            shape=on_disk(shape),
            shards=on_disk((1, 1, *shard)),
            chunks=on_disk((1, 1, *chunk)),
            dtype=dtype,
            # crc32c comes after the compressor, inside the shard: any flipped bit is seen on reading
            compressors=[ZstdCodec(level=section.compression_level), Crc32cCodec()],
            dimension_names=tuple(axes),
        )
    else:
        group.create_array(
            str(level),
            shape=on_disk(shape),
            chunks=on_disk((1, 1, *chunk)),
            dtype=dtype,
            # zarr v2 has no crc32c codec that readers share; zstd's own checksum every decoder verifies
            compressors=Zstd(level=section.compression_level, checksum=True),
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )


def is_ours(path: Path) -> bool:
    """Tell whether a path holds an output of this package."""
    return bool(_ours(path))


def read_status(path: Path) -> str:
    """Return what ``set_status`` last recorded."""
    return str(_ours(path).get("status"))


def read_fingerprint(path: Path) -> str:
    """Return the fingerprint of the run that made an output, 'unknown' where it has none."""
    return str(_ours(path).get("provenance", {}).get("fingerprint", "unknown"))


def refuse_missing_arrays(path: Path, names: Iterable[str]) -> None:
    """Refuse an output whose arrays (pyramid levels, uncertainty) cannot be opened, or that viewers cannot.

    Raises
    ------
    OutputError
        The metadata of one are gone or damaged.
    """
    for name in names:
        image = (path / name).parent
        if not _has_multiscales(image):
            raise OutputError(
                f"{image} has lost what makes it an OME-Zarr image (multiscales): put its metadata back, or start over "
                "with `ssi run --new`"
            )
        try:
            zarr.open_array(path / name, mode="r")
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise OutputError(
                f"array {name} of {path} cannot be opened ({error}): put it back, or start over with `ssi run --new`"
            ) from error


def _has_multiscales(path: Path) -> bool:
    return has_multiscales(read_attributes(path) or {})


def has_multiscales(attributes: Mapping[str, Any]) -> bool:
    """Tell whether a group's attributes are those of an OME-Zarr image, 0.4 or 0.5."""
    inner = attributes.get("ome", attributes)
    return isinstance(inner, Mapping) and bool(inner.get("multiscales"))


def _ours(path: Path) -> dict[str, Any]:
    ours = (read_attributes(path) or {}).get(OWNER, {})
    return dict(ours) if isinstance(ours, dict) else {}


def set_status(path: Path, status: str) -> None:
    """Record in the output whether it is ``incomplete`` or ``complete``."""
    edit_attributes(path, lambda found: {**found, OWNER: {**found[OWNER], "status": status}})


def read_quality(path: Path, name: str) -> NDArray[np.float32] | None:
    """Return one metric on the tile grid (t c z y x), None where it was not written (yet)."""
    try:
        return np.asarray(zarr.open_array(path / "quality" / name, mode="r")[...], np.float32)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError):
        return None


def has_all_chunks(path: Path, name: str) -> bool:
    """Tell whether no file of a metric's array is lost or empty, which would read as NaN without an error."""
    folder = path / "quality" / name
    array = zarr.open_array(folder, mode="r")
    grid = itertools.product(*(range(-(-n // c)) for n, c in zip(array.shape, array.chunks, strict=True)))
    files = (folder / array.metadata.encode_chunk_key(cell) for cell in grid)
    return all(file.is_file() and file.stat().st_size > 0 for file in files)


def _quality_chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Halve the longest axis until a chunk has a million values: a file a metric, also where all tiles are in a row."""
    chunks = list(shape)
    while math.prod(chunks) > 2**20:
        longest = chunks.index(max(chunks))
        chunks[longest] = -(-chunks[longest] // 2)
    return tuple(chunks)


def write_quality(path: Path, name: str, values: NDArray[np.float32], axes: str) -> None:
    """Write one metric as an array on the tile grid (t c z y x), NaN where a tile has none."""
    with writing(path / "quality" / name):
        _write_quality(path, name, values, axes)


def _write_quality(path: Path, name: str, values: NDArray[np.float32], axes: str) -> None:
    group = zarr.open_group(path, mode="r+")
    for file in (path / "quality" / "zarr.json", path / "quality" / ".zgroup"):
        if file.exists() and read_document(file) is None:
            file.unlink()  # zarr makes it again where it is missing, but not where it is damaged
    three = group.metadata.zarr_format == 3
    compressors = [ZstdCodec(level=3), Crc32cCodec()] if three else Zstd(level=3, checksum=True)
    array = group.create_array(
        f"quality/{name}",
        shape=values.shape,
        chunks=_quality_chunks(values.shape),
        dtype="float32",
        fill_value=float("nan"),
        compressors=compressors,
        dimension_names=tuple(axes) if three else None,
        overwrite=True,
        # values that are all NaN are written as well: a file that is not there was lost
        config={"write_empty_chunks": True},
    )
    array[...] = values
    sync_tree(path / "quality" / name)
    for file in (path / "quality").iterdir():
        if file.is_file():
            sync(file)  # the group's metadata
    sync(path / "quality")
