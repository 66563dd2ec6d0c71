"""Hints for a folder that is not an image: always existing paths."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from typing import Any

from ssi_pipeline.config.url import Place, Url
from ssi_pipeline.errors import InputError
from ssi_pipeline.storage.inputs.zarr_node import NODE_FILES, ZarrNode, read_node
from ssi_pipeline.storage.outputs.ome import image_document
from ssi_pipeline.storage.store import store_of

_SHOWN = 3
_LOOKED_AT = 1000
"""Group members to inspect for a hint; plates have at most 1536 wells."""


def refuse_collection(node: ZarrNode, where: str) -> None:
    """Refuse plates, wells and bioformats2raw folders; suggest an existing image inside.

    Raises
    ------
    InputError
        The group is a collection of images.
    """
    document = image_document(node.attributes)
    if "plate" in document:
        kind, inside = "a plate", _images_of_plate(node.folder, document)
    elif "well" in document:
        kind, inside = "a well", _listed_images(node.folder, document)
    elif "bioformats2raw.layout" in document and "multiscales" not in document:
        kind, inside = "a collection written by bioformats2raw", _series(node.folder)
    else:
        return
    several = f"; `ssi images {node.folder}` lists all, and input.images runs several"
    many = kind != "a well" and inside and not isinstance(node.folder, Url)
    raise InputError(f"{where} is {kind}, not one image; {_advice(inside)}{several if many else ''}")


def refuse_no_image(node: ZarrNode, where: str) -> None:
    """Refuse a group without an OME-Zarr image; suggest an existing image or array inside.

    Raises
    ------
    InputError
        Always.
    """
    members = [member for path in _member_folders(node.folder) if (member := _node(path)) is not None]
    images = [m.folder for m in members if m.kind == "group" and "multiscales" in image_document(m.attributes)]
    arrays = [m.folder for m in members if m.kind == "array"]
    groups = [m.folder for m in members if m.kind == "group"]
    if images:
        raise InputError(f"{where} is a zarr group without an OME-Zarr image of its own; {_advice(images)}")
    if arrays:
        raise InputError(
            f"{where} is a zarr group without OME-Zarr metadata; give an array inside, e.g. {_show(arrays)}"
        )
    hint = f"; it contains the groups {_show(groups)}; give an image inside" if groups else ", and contains no image"
    raise InputError(f"{where} is a zarr group without an OME-Zarr image{hint}")


def _images_of_plate(folder: Place, document: Mapping[str, Any]) -> list[Place]:
    found: list[Place] = []
    for well in _paths(document["plate"], "wells", folder):
        node = _node(well)
        if node is not None:
            found += _listed_images(well, image_document(node.attributes))
        if len(found) >= _SHOWN:
            break
    return found


def _listed_images(folder: Place, document: Mapping[str, Any]) -> list[Place]:
    listed = [path for path in _paths(document.get("well"), "images", folder) if _is_node(path)]
    return listed or [path for path in _member_folders(folder) if _node(path) is not None]


def _series(folder: Place) -> list[Place]:
    """Return the images listed in ``OME/``, or found in the folder."""
    ome = _node(folder / "OME")
    names = image_document(ome.attributes).get("series") if ome is not None else None
    listed = [folder / str(name) for name in names] if isinstance(names, list) else []
    listed = [path for path in listed if _is_node(path)]
    return listed or [path for path in _member_folders(folder) if path.name != "OME"]


def _paths(section: Any, name: str, folder: Place) -> Iterator[Place]:
    entries = section.get(name) if isinstance(section, Mapping) else None
    for entry in entries[:_LOOKED_AT] if isinstance(entries, list) else []:
        if isinstance(entry, Mapping) and entry.get("path"):
            yield folder / str(entry["path"])


def _member_folders(folder: Place) -> list[Place]:
    """Return the nodes directly inside a folder in natural order of their names."""
    nodes = [path for path in (folder / name for name in _folder_names(folder)) if _is_node(path)]
    return sorted(
        nodes, key=lambda path: (not path.name.isdecimal(), int(path.name) if path.name.isdecimal() else 0, str(path))
    )


def _folder_names(folder: Place) -> list[str]:
    if isinstance(folder, Url):  # names of the first objects: a hint need not be complete
        store = store_of(folder)
        some = itertools.islice(store.list() if store.lists else (), _LOOKED_AT)
        names = (entry.key.partition("/") for entry in some)
        return list(dict.fromkeys(name for name, inside, _ in names if inside))
    with os.scandir(folder) as entries:
        return [e.name for _, e in zip(range(_LOOKED_AT), entries, strict=False) if e.is_dir()]


def _is_node(folder: Place) -> bool:
    store = store_of(folder)
    return any(store.exists(name) for name in NODE_FILES)


def _node(folder: Place) -> ZarrNode | None:
    try:
        return read_node(folder, str(folder))
    except (InputError, OSError):  # unusable as a hint
        return None


def _advice(inside: list[Place]) -> str:
    if not inside:
        return "found no image inside"
    return f"give the image inside as input.path, e.g. {_show(inside)}"


def _show(paths: list[Place]) -> str:
    more = ", and others" if len(paths) > _SHOWN else ""
    return " or ".join(str(path) for path in paths[:_SHOWN]) + more
