"""Crash-safe access to zarr's JSON metadata files, without zarr.

zarr renames a file without syncing it: after a crash of the machine it may be empty.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ssi_pipeline.config.url import Place
from ssi_pipeline.storage.store import read_json_of, write_file
from ssi_pipeline.storage.system_errors import described

Document = dict[str, Any]

GROUP_FILES = ("zarr.json", ".zattrs")
"""Where the attributes of a group are: format 3, format 2."""


def read_document(path: Place) -> Document | None:
    """Return a JSON object, or None if the file is missing or contains anything else.

    Raises
    ------
    OutputError
        The file exists but cannot be read.
    """
    try:
        found = read_json_of(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError):
        return None
    except OSError as problem:
        raise described(problem, path) from problem
    return found if isinstance(found, dict) else None


def read_attributes(folder: Place) -> Document | None:
    """Return the attributes of a zarr group, or None if missing or unreadable."""
    document = read_document(folder / "zarr.json")
    if document is not None:
        attributes = document.get("attributes", {})
        return attributes if document.get("node_type") == "group" and isinstance(attributes, dict) else None
    return read_document(folder / ".zattrs")


def edit_attributes(folder: Place, edit: Callable[[Document], Document]) -> None:
    """Edit the attributes of a readable zarr group."""
    path = folder / "zarr.json"
    document = read_document(path)
    if document is not None:
        write_document(path, {**document, "attributes": edit(dict(document.get("attributes", {})))})
    else:
        path = folder / ".zattrs"
        write_document(path, edit(read_document(path) or {}))


def write_document(path: Place, document: Mapping[str, Any]) -> None:
    """Write a JSON object in zarr's format, atomically and synced."""
    write_file(path, encoded(document))


def group_documents(version: str, attributes: Mapping[str, Any]) -> dict[str, Document]:
    """Return the metadata files of a group by version of OME-Zarr, those that make it a group last."""
    if version == "0.5":
        return {"zarr.json": {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}}
    return {".zattrs": dict(attributes), ".zgroup": {"zarr_format": 2}}


def encoded(document: Mapping[str, Any]) -> bytes:
    """Return a JSON object as zarr writes it."""
    return json.dumps(document, indent=2).encode(errors="backslashreplace")


def is_array(document: Mapping[str, Any]) -> bool:
    """Tell whether this is the metadata of an array, of format 3 or 2."""
    return "shape" in document


def difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str | None:
    """Describe a difference of an array's metadata that changes what is read, or return None.

    Ignored are attributes, and the levels and checksums of compressors.
    """
    for key, value in expected.items():
        if key in _FREE:
            continue
        if _essence(found.get(key)) != _essence(value):
            return f"{key} is {_short(found.get(key))}, expected {_short(value)}"
    return None


_FREE = ("attributes", "dimension_names", "storage_transformers")


def _essence(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _essence(inner) for key, inner in value.items() if key not in ("level", "checksum")}
    return [_essence(inner) for inner in value] if isinstance(value, list) else value


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
