"""The output as a whole: its creation, its metadata, and what it says of itself. Only the client writes these."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import Zstd
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from ssi_pipeline.config import OutputConfig
from ssi_pipeline.errors import OutputError
from ssi_pipeline.geometry import TilePlan, Volume
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.geometry.pyramid import PyramidPlan
from ssi_pipeline.storage.multiscales import multiscales

UNCERTAINTY = "uncertainty"
"""Name of the image in the output that says how far off each pixel may be."""

OWNER = "ssi_pipeline"
"""Attribute of the output's group that marks it as ours; holds status and provenance."""


def create_output(
    path: Path,
    section: OutputConfig,
    volume: Volume,
    dtype: str,
    plan: TilePlan,
    pyramid: PyramidPlan,
    metadata: Mapping[str, Any],
    origin: Mapping[str, int],
    provenance: Mapping[str, Any],
    token: str = "",
) -> None:
    """Create the group and the arrays of all levels at ``path``, marked as incomplete. Only the client calls this.

    Its uncertainty is an image of its own inside, of the full resolution alone. ``token``: of the run, which its state
    folder has as well.
    """
    version = section.ome_zarr
    group = zarr.create_group(path, zarr_format=3 if version == "0.5" else 2)
    document: Any = multiscales(version, section.path.stem, volume, metadata, pyramid.factors, origin)
    ome: dict[str, Any] = {"multiscales": [document]} | ({"omero": metadata["omero"]} if metadata.get("omero") else {})
    ours: dict[str, Any] = {OWNER: {"status": "incomplete", "token": token, "provenance": dict(provenance)}}
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


def read_token(path: Path) -> str | None:
    """Return the token of the run that an output belongs to; None where it has none, or comes from an earlier release.

    Also where its metadata cannot be read.
    """
    token = _ours(path).get("token")
    return None if token is None else str(token)


def set_token(path: Path, token: str) -> None:
    """Record in an output of an earlier release to which run it belongs."""
    group = zarr.open_group(path, mode="r+")
    ours: Any = group.attrs[OWNER]
    group.attrs[OWNER] = {**ours, "token": token}


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
    try:
        attributes: Any = dict(zarr.open_group(path, mode="r").attrs)
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return bool(attributes.get("ome", attributes).get("multiscales"))


def _ours(path: Path) -> dict[str, Any]:
    try:
        ours: Any = zarr.open_group(path, mode="r").attrs.get(OWNER, {})
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return dict(ours)


def set_status(path: Path, status: str) -> None:
    """Record in the output whether it is ``incomplete`` or ``complete``."""
    group = zarr.open_group(path, mode="r+")
    ours: Any = group.attrs[OWNER]
    group.attrs[OWNER] = {**ours, "status": status}


def read_quality(path: Path, name: str) -> NDArray[np.float32] | None:
    """Return one metric on the tile grid (t c z y x), None where it was not written (yet)."""
    try:
        return np.asarray(zarr.open_array(path / "quality" / name, mode="r")[...], np.float32)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _quality_chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Halve the longest axis until a chunk has a million values: a file a metric, also where all tiles are in a row."""
    chunks = list(shape)
    while math.prod(chunks) > 2**20:
        longest = chunks.index(max(chunks))
        chunks[longest] = -(-chunks[longest] // 2)
    return tuple(chunks)


def write_quality(path: Path, name: str, values: NDArray[np.float32], axes: str) -> None:
    """Write one metric as an array on the tile grid (t c z y x), NaN where a tile has none."""
    group = zarr.open_group(path, mode="r+")
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
    )
    array[...] = values
