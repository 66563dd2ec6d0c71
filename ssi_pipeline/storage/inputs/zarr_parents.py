"""Parent groups of an array or image: OME-Zarr metadata, and the status of an output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssi_pipeline.config.url import Place, Url
from ssi_pipeline.errors import InputError
from ssi_pipeline.storage.inputs.zarr_node import ZarrNode, read_node
from ssi_pipeline.storage.outputs.ome import image_document
from ssi_pipeline.storage.outputs.output import OWNER
from ssi_pipeline.storage.store import path_in

_LEVELS_UP = 5
"""Levels of parent groups to inspect: collection, series or well, image, and array folders."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Group whose multiscales list an array, that entry as a document, and the level."""

    group: ZarrNode
    document: Mapping[str, Any]
    level: int


def find_listing(folder: Place, where: str) -> Listing | None:
    """Return the image in a parent group that lists an array as one of its levels.

    Raises
    ------
    InputError
        The metadata of a parent group are damaged.
    """
    for group, name in _groups_above(folder, where):
        document = image_document(group.attributes)
        entries = document.get("multiscales")
        for entry in entries if isinstance(entries, list) else []:
            names = _dataset_names(entry)
            if name in names:
                return Listing(group, {**document, "multiscales": [entry]}, names.index(name))
    return None


def refuse_incomplete_output(node: ZarrNode, where: str) -> bool:
    """Refuse an incomplete output of this package, or its contents; return whether it is an output.

    Raises
    ------
    InputError
        The output is marked as incomplete.
    """
    above = [group for group, _ in _groups_above(node.folder, where)]
    for group in (node, *above):
        ours = group.attributes.get(OWNER)
        if not isinstance(ours, Mapping) or "status" not in ours:
            continue
        if ours["status"] != "complete":
            raise InputError(_incomplete(group.folder, ours, where))
        return True
    return False


def _incomplete(output: Place, ours: Mapping[str, Any], where: str) -> str:
    made_of = ours.get("provenance")
    source = made_of.get("input_path") if isinstance(made_of, Mapping) else None
    which = f"the configuration that made it of {source}" if source else "the configuration that made it"
    state = None if isinstance(output, Url) else output.with_name(output.name + ".run")
    found = f" (its state is in {state})" if state is not None and (state / "run.json").is_file() else ""
    return (
        f"{where} is an output of ssi with status {ours['status']!s}: missing blocks would be read as 0. Finish "
        f"it first: `ssi run CONFIG.yaml` with {which} and whose output.path is {output}{found}; for a copy, "
        "finish the original and copy it again"
    )


def _groups_above(folder: Place, where: str) -> Iterator[tuple[ZarrNode, str]]:
    """Yield the parent groups of a folder, nearest first, with the folder's name inside each.

    Links are also resolved: their target may be inside an image.
    """
    seen = set()
    paths: tuple[Place, ...] = (folder,) if isinstance(folder, Url) else (folder.absolute(), folder.resolve())
    for path in dict.fromkeys(paths):
        above: Sequence[Place] = path.parents
        for parent in list(above)[:_LEVELS_UP]:
            name = path_in(parent, path)
            if (parent, name) in seen:
                continue
            seen.add((parent, name))
            node = _read(parent, where)
            if node is not None and node.kind == "group":
                yield node, name


def _read(folder: Place, where: str) -> ZarrNode | None:
    try:
        return read_node(folder, where)
    except PermissionError:  # a foreign parent folder
        return None
    except InputError as error:
        if isinstance(folder, Url) and folder.scheme.startswith("http"):
            return None  # web servers answer with a page for what they do not have
        raise InputError(f"{error} (a parent group of the input, needed for axes and scale)") from error


def _dataset_names(entry: Any) -> list[str]:
    datasets = entry.get("datasets") if isinstance(entry, Mapping) else None
    if not isinstance(datasets, list):
        return []
    return [str(d.get("path", "")).strip("/") if isinstance(d, Mapping) else "" for d in datasets]
