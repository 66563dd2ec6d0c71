"""Metadata of an output of many images: a plate with its wells, or a series of images (OME-Zarr 0.4 and 0.5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ssi_pipeline.storage.inputs.images import Image
from ssi_pipeline.storage.outputs.output import OWNER
from ssi_pipeline.storage.outputs.zarr_metadata import group_documents, read_attributes, write_document

COLLECTION = "collection"
"""Key of our attribute that tells a collection from an image."""

_ACQUISITION_KEYS = ("id", "name", "maximumfieldcount", "description", "starttime", "endtime")


@dataclass(frozen=True, slots=True)
class Layout:
    """A collection around its images.

    ``version``: ``'0.4'`` or ``'0.5'``. ``images``: those that it lists. ``plate``: metadata of the input's plate;
    empty for other collections. ``status``: ``incomplete`` or ``complete``. ``token``: of the run. ``provenance``: of
    what was carried along.
    """

    version: str
    images: Sequence[Image]
    plate: Mapping[str, Any]
    status: str
    token: str
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def groups(self) -> dict[str, dict[str, Any]]:
        """Return the attributes of every group, by its path in the output."""
        facts = {COLLECTION: len(self.images), "status": self.status, "token": self.token}
        ours = {OWNER: {**facts, "provenance": dict(self.provenance)} if self.provenance else facts}
        if not self.plate:
            parents = sorted({str(p) for image in self.images for p in PurePosixPath(image.name).parents} - {"."})
            return {
                "": {**self._ome({"bioformats2raw.layout": 3}), **ours},
                "OME": self._ome({"series": [image.name for image in self.images]}),
                **{parent: {} for parent in parents},
            }
        wells: dict[str, list[Image]] = {}
        for image in self.images:
            wells.setdefault(image.well, []).append(image)
        return {
            "": {**self._ome({"plate": _plate(self.plate, wells, self.version)}), **ours},
            **{well.split("/")[0]: {} for well in wells},
            **{well: self._ome({"well": _well(well, fields, self.version)}) for well, fields in wells.items()},
        }

    def _ome(self, content: dict[str, Any]) -> dict[str, Any]:
        return {"ome": {"version": self.version, **content}} if self.version == "0.5" else content


def write_collection(output: Path, layout: Layout) -> None:
    """Write the groups of a collection, each atomically; groups that are as they should be stay."""
    for name, attributes in layout.groups().items():
        folder = output / name
        if read_attributes(folder) == attributes:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        for file, document in group_documents(layout.version, attributes).items():
            write_document(folder / file, document)


def damaged_groups(output: Path, layout: Layout) -> list[str]:
    """Return a line for each group of a collection that is missing or not as it should be."""
    return [
        f"metadata of {output / name} are missing, damaged or changed"
        for name, attributes in layout.groups().items()
        if read_attributes(output / name) != attributes
    ]


def is_collection(output: Path) -> bool:
    """Return whether a folder is an output of many images."""
    ours = (read_attributes(output) or {}).get(OWNER)
    return isinstance(ours, dict) and COLLECTION in ours


def _plate(plate: Mapping[str, Any], wells: Mapping[str, Sequence[Image]], version: str) -> dict[str, Any]:
    """Return the metadata of a plate with these wells: rows and columns stay, wells without images are left out."""
    rows, columns = _names(plate.get("rows"), wells, 0), _names(plate.get("columns"), wells, 1)
    document: dict[str, Any] = {
        "name": str(plate.get("name") or "plate"),
        "rows": [{"name": name} for name in rows],
        "columns": [{"name": name} for name in columns],
        "field_count": max(map(len, wells.values()), default=0),
        "wells": [
            {"path": well, "rowIndex": rows.index(row), "columnIndex": columns.index(column)}
            for well, (row, column) in ((well, well.split("/")) for well in wells)
        ],
    }
    acquisitions = plate.get("acquisitions")
    if isinstance(acquisitions, list) and acquisitions:
        kept = [a for a in acquisitions if isinstance(a, Mapping) and isinstance(a.get("id"), int)]
        document["acquisitions"] = [{key: a[key] for key in _ACQUISITION_KEYS if key in a} for a in kept]
    return {**document, "version": version}


def _names(listed: Any, wells: Iterable[str], part: int) -> list[str]:
    """Return the names of all rows, or columns: those listed, then those of wells that are not."""
    known = (
        [str(e["name"]) for e in listed if isinstance(e, Mapping) and "name" in e] if isinstance(listed, list) else []
    )
    return list(dict.fromkeys([*known, *(well.split("/")[part] for well in wells)]))


def _well(well: str, fields: Sequence[Image], version: str) -> dict[str, Any]:
    entries = []
    for image in fields:
        entry: dict[str, Any] = {"path": image.name.removeprefix(f"{well}/")}
        entries.append(entry if image.acquisition is None else {**entry, "acquisition": image.acquisition})
    return {"images": entries, "version": version}
