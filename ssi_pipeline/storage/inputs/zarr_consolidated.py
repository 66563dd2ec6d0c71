"""Stale consolidated metadata: copies of all metadata in one file that are not updated automatically.

Zarr prefers them: an array that was resized or rewritten since is silently read with old metadata. This package reads
each node's own metadata and warns about different copies.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import InputError
from ssi_pipeline.storage.inputs.foreign import read_json
from ssi_pipeline.storage.inputs.zarr_node import ZarrNode, read_node
from ssi_pipeline.storage.store import path_in, store_of

if TYPE_CHECKING:
    from zarr.storage import StoreLike

_FILE = ".zmetadata"
_consolidating = threading.Lock()


def describe_stale_copies(group: ZarrNode, array: ZarrNode) -> str | None:
    """Return a note if a group's consolidated metadata differ from its own or its array's; else None."""
    name = path_in(group.folder, array.folder)
    try:
        found = list(_differences(group, array, name))
    except InputError as error:
        return f"{error}; each array's own metadata are used"
    if not found:
        return None
    return (
        f"the consolidated metadata in {group.folder} differ from those of its arrays ({'; '.join(found[:3])}): they "
        "are stale, and each array's own metadata are used. Other programs may use them: consolidate again"
    )


def renew_copies(group: Place) -> None:
    """Consolidate an output again if it was consolidated: its status changes and arrays are added."""
    node = read_node(group, str(group))
    if node is None or not ("consolidated_metadata" in node.document or store_of(group).exists(_FILE)):
        return
    consolidate(
        store_of(group).zarr(writable=True), node.zarr_format
    )  # format 3 does not specify them, but they exist already


def consolidate(group: StoreLike, zarr_format: Literal[2, 3]) -> None:
    """Consolidate the metadata of a group without zarr's warning; thread-safe, as warnings are of the whole process."""
    import zarr
    from zarr.errors import ZarrUserWarning

    with _consolidating, warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(group, zarr_format=zarr_format)


def _differences(group: ZarrNode, array: ZarrNode, name: str) -> Iterator[str]:
    if group.zarr_format == 3:
        inner = group.document.get("consolidated_metadata")
        copies = inner.get("metadata") if isinstance(inner, Mapping) else None
        yield from _compare(copies, name, array.document)
        return
    store = store_of(group.folder)
    if not store.exists(_FILE):
        return
    copies = read_json(store, _FILE, str(group.folder)).get("metadata")
    yield from _compare(copies, f"{name}/.zarray", array.document)
    yield from _compare(copies, ".zattrs", group.attributes)


def _compare(copies: Any, key: str, own: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(copies, Mapping):
        return
    copy = copies.get(key)
    if not isinstance(copy, Mapping):
        yield f"{key} is missing there"
        return
    for entry in sorted(copy.keys() & own.keys()):
        if copy[entry] != own[entry]:
            yield f"{entry} of {key}: {_cut(copy[entry])} there, {_cut(own[entry])} in its own"


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "..."
