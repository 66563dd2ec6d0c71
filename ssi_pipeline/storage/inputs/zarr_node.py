"""Zarr node: a group or array by its own metadata files, validated before zarr opens it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import InputError
from ssi_pipeline.storage.inputs.foreign import read_json
from ssi_pipeline.storage.store import store_of

NODE_FILES = ("zarr.json", ".zarray", ".zgroup")
"""Metadata files that make a folder a node; the first one found is used, as in zarr."""

METADATA_FILES = (*NODE_FILES, ".zattrs")

MOST_VOXELS = 2**60
"""2^60 voxels, more than any file system can store: a larger shape is damage."""

_DIMENSIONS = 32  # numpy's former limit; no image has more


@dataclass(frozen=True, slots=True)
class ZarrNode:
    """A group or an array: its folder, format, kind, metadata document and attributes."""

    folder: Place
    zarr_format: Literal[2, 3]
    kind: Literal["group", "array"]
    document: Mapping[str, Any]
    attributes: Mapping[str, Any]


def read_node(folder: Place, where: str) -> ZarrNode | None:
    """Return the node in a folder, or None without zarr metadata.

    Consolidated metadata are not used: they are copies that may be stale.

    Raises
    ------
    InputError
        The metadata are damaged or impossible; names the file.
    """
    store = store_of(folder)
    name = next((name for name in NODE_FILES if store.exists(name)), None)
    if name is None:
        return None
    document = read_json(store, name, where)
    file = folder / name
    if name == "zarr.json":
        kind, attributes = _kind_of(document, file, where), document.get("attributes", {})
    else:
        kind = "array" if name == ".zarray" else "group"
        attributes = read_json(store, ".zattrs", where) if store.exists(".zattrs") else {}
    if not isinstance(attributes, dict):
        raise InputError(f"{where} is not a readable zarr: the attributes in {file} are not a JSON object")
    if kind == "array":
        _check_array(document, file, where)
    return ZarrNode(folder, 3 if name == "zarr.json" else 2, kind, document, attributes)


def _kind_of(document: Mapping[str, Any], file: Place, where: str) -> Literal["group", "array"]:
    version, kind = document.get("zarr_format"), document.get("node_type")
    if version != 3:
        raise InputError(f"{where} is not a readable zarr: {file} states zarr_format {version!r}, expected 3")
    if kind == "array" or kind == "group":
        if kind == "group" and "shape" in document:
            raise InputError(f"{where} is not a readable zarr: {file} states node_type 'group', but describes an array")
        return "array" if kind == "array" else "group"
    raise InputError(f"{where} is not a readable zarr: {file} states node_type {kind!r}, expected 'array' or 'group'")


def _check_array(document: Mapping[str, Any], file: Place, where: str) -> None:
    shape = document.get("shape")
    if not _are_lengths(shape, 0):
        raise _impossible(where, file, "shape", shape, "non-negative integers")
    assert isinstance(shape, list)
    for name, chunk in _chunk_shapes(document):
        if not _are_lengths(chunk, 1) or len(chunk) != len(shape):
            raise _impossible(where, file, name, chunk, f"{len(shape)} positive integers")
    if math.prod(shape) > MOST_VOXELS:
        raise InputError(
            f"{where} is not a readable zarr: {file} states the shape {_short(shape)}, more voxels than any disk has: "
            "the metadata are damaged"
        )


def _chunk_shapes(document: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return name and value of every chunk shape in the document: of the grid, and of chunks inside shards."""
    if document.get("zarr_format") != 3:
        return [("chunks", document.get("chunks"))]
    shapes: list[tuple[str, Any]] = []
    grid = document.get("chunk_grid")
    if isinstance(grid, dict) and grid.get("name") == "regular":
        shapes.append(("chunk_shape", _configured(grid)))
    codecs = document.get("codecs")
    for codec in codecs if isinstance(codecs, list) else []:
        if isinstance(codec, dict) and codec.get("name") == "sharding_indexed":
            shapes.append(("chunk_shape of the shards", _configured(codec)))
    return shapes


def _configured(part: Mapping[str, Any]) -> Any:
    configuration = part.get("configuration")
    return configuration.get("chunk_shape") if isinstance(configuration, dict) else None


def _are_lengths(value: Any, least: int) -> bool:
    if not isinstance(value, list) or not 1 <= len(value) <= _DIMENSIONS:
        return False
    return all(isinstance(n, int) and not isinstance(n, bool) and n >= least for n in value)


def _impossible(where: str, file: Place, name: str, value: Any, expected: str) -> InputError:
    return InputError(f"{where} is not a readable zarr: {file} states {name} {_short(value)}, expected {expected}")


def _short(value: Any) -> str:
    """Shorten a value that may be huge in a damaged file; lists are cut before formatting."""
    if isinstance(value, list):
        value = value[:8]
    try:
        text = repr(value)
    except ValueError:  # more digits than Python prints
        return "with a number of thousands of digits"
    return text if len(text) <= 120 else text[:120] + "..."
