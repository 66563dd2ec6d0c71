"""Find the array to read in a zarr folder, with its axes and scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import zarr

from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import InputError, StoreError
from ssi_pipeline.storage.inputs.zarr_codecs import with_checked_frames
from ssi_pipeline.storage.inputs.zarr_hints import refuse_collection, refuse_no_image
from ssi_pipeline.storage.inputs.zarr_node import ZarrNode, read_node
from ssi_pipeline.storage.inputs.zarr_parents import find_listing, refuse_incomplete_output
from ssi_pipeline.storage.outputs.image_metadata import ImageMetadata
from ssi_pipeline.storage.outputs.ome import axis_names, image_document, irregular_transforms, read_multiscale
from ssi_pipeline.storage.store import store_of


@dataclass(frozen=True, slots=True)
class ZarrImage:
    """One array, its axes in its own order (or None), and its OME-Zarr metadata.

    ``node``: the array's own metadata. ``group``: the image that lists it, None for a bare array.
    ``ours``: part of a complete output of this package, which has all chunks.
    """

    array: zarr.Array[Any]
    node: ZarrNode
    group: ZarrNode | None
    axes: list[str] | None
    metadata: ImageMetadata
    ours: bool
    notes: tuple[str, ...] = ()


def find_image(path: Place, level: int, where: str, labels: bool = False) -> ZarrImage:
    """Return the array of one level of the image in a folder, or the array itself; ``labels``: of a label image.

    Metadata are read from each node's own files, never from consolidated ones.

    Raises
    ------
    InputError
        There is none, its metadata are unreadable, or it is an incomplete output of this package.
    """
    node = read_node(path, where)
    if node is None:
        raise InputError(f"{where} has no zarr metadata")
    ours = refuse_incomplete_output(node, where)
    if node.kind == "group":
        refuse_collection(node, where)
        return _image_in_group(node, image_document(node.attributes), level, ours, where, labels)
    return _array(node, level, ours, where)


def _array(node: ZarrNode, level: int, ours: bool, where: str) -> ZarrImage:
    listing = find_listing(node.folder, where)
    if level:
        inside = f"; its image is {listing.group.folder}: give that path with level: {level}" if listing else ""
        raise InputError(f"{where} is a single array without resolution levels; remove input.level{inside}")
    if listing is None:
        array = _open_array(node, where)
        return ZarrImage(array, node, None, _own_axes(node, array.ndim), ImageMetadata(), ours)
    found = _level(node, listing.document, listing.level, listing.group, ours, where)
    note = f"read as level {listing.level} of {listing.group.folder}, with its axes, scale and channels"
    return replace(found, notes=(note, *found.notes))


def _image_in_group(
    group: ZarrNode, document: Mapping[str, Any], level: int, ours: bool, where: str, labels: bool
) -> ZarrImage:
    names = _datasets(document)
    if names is None:
        refuse_no_image(group, where)
    assert names is not None
    if level >= len(names):
        raise InputError(f"{where} has no level {level}; levels: {_list_levels(group, names)}. Set input.level")
    node = _member(group, names[level], where)
    if node is None or node.kind != "array":
        raise InputError(f"{where} lists level {level} as {names[level]!r}, but there is no such array")
    found = _level(node, document, level, group, ours, where, labels)
    more = len(document["multiscales"]) - 1
    if not more:
        return found
    note = f"{group.folder} describes {more + 1} multiscale images; the first is read. To read another, give its array"
    return replace(found, notes=(note, *found.notes))


def _level(
    node: ZarrNode,
    document: Mapping[str, Any],
    level: int,
    group: ZarrNode,
    ours: bool,
    where: str,
    labels: bool = False,
) -> ZarrImage:
    if "image-label" in document and not labels:
        raise InputError(
            f"{where} is a label image ({group.folder} has image-label): its pixels are object labels, not "
            "intensities. Give the labelled image"
        )
    array = _open_array(node, where)
    try:
        names = axis_names(document["multiscales"][0])
        if names is None and array.ndim == 5:
            names = list("tczyx")  # OME-Zarr 0.1 and 0.2 had exactly these
        if names is not None and len(names) != array.ndim:
            raise InputError(f"{where} names {len(names)} axes, but its level {level} has {array.ndim} dimensions")
        metadata = read_multiscale(document, level, names or [])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where} has malformed OME-Zarr metadata: {type(error).__name__}: {error}") from error
    notes: tuple[str, ...] = () if names is not None else (_unknown_axes(group, document),)
    for kind in irregular_transforms(document["multiscales"][0]):
        notes += (f"the transformation of type {kind!r} of {group.folder} is not carried over to the output",)
    return ZarrImage(array, node, group, names, metadata, ours, notes)


def _unknown_axes(group: ZarrNode, document: Mapping[str, Any]) -> str:
    version = document.get("version", document["multiscales"][0].get("version", "unknown"))
    return (
        f"the OME-Zarr metadata of {group.folder} (version {version}) have no known axes: scale and units "
        "are ignored; set input.voxel_size_um"
    )


def _datasets(document: Mapping[str, Any]) -> list[str] | None:
    try:
        return [str(dataset["path"]) for dataset in document["multiscales"][0]["datasets"]]
    except (KeyError, IndexError, TypeError):
        return None


def _member(group: ZarrNode, name: str, where: str) -> ZarrNode | None:
    inside = PurePosixPath(name.strip("/"))
    if ".." in inside.parts:
        raise InputError(f"{where} lists an array outside of its folder, {name!r}: give that array as input.path")
    return read_node(group.folder / inside, where)


def _list_levels(group: ZarrNode, names: Sequence[str]) -> str:
    shown = []
    for i, name in enumerate(names[:20]):
        try:
            node = _member(group, name, name)
        except InputError:
            node = None
        there = node is not None and node.kind == "array"
        shown.append(f"{i} ({' x '.join(map(str, node.document['shape'])) if node and there else 'missing'})")
    return ", ".join(shown)


def _open_array(node: ZarrNode, where: str) -> zarr.Array[Any]:
    try:
        array = zarr.open_array(store_of(node.folder).zarr(), mode="r", zarr_format=node.zarr_format)
        return with_checked_frames(array)
    except (PermissionError, StoreError):
        raise
    except Exception as error:  # zarr raises KeyError, ValueError, TypeError and its own types
        text = " ".join(str(error).split())[:500]
        raise InputError(f"{where} is not a readable zarr: {node.folder}: {type(error).__name__}: {text}") from error


def list_levels(group: ZarrNode, document: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """Return the shape of every level of an image in the order of its metadata; empty for a missing one."""
    nodes = [_member(group, name, str(group.folder)) for name in _datasets(document) or []]
    return [tuple(node.document["shape"]) if node is not None and node.kind == "array" else () for node in nodes]


def _own_axes(node: ZarrNode, ndim: int) -> list[str] | None:
    """Return the axis names of a bare array: ``dimension_names`` (format 3), xarray's attribute (format 2)."""
    if node.zarr_format == 3:
        names: Any = node.document.get("dimension_names")
    else:
        names = node.attributes.get("_ARRAY_DIMENSIONS")
    if not isinstance(names, (list, tuple)) or len(names) != ndim or not all(names):
        return None
    return [str(name) for name in names]
