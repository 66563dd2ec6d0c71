"""Index of a run of many images: their state by well, and a row for each with a link to its report."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ssi_pipeline.errors import InputError
from ssi_pipeline.report.page import page_path, write_page
from ssi_pipeline.report.section import Section, render
from ssi_pipeline.results.collection import CollectionStatus, ImageStatus, State, read_collection
from ssi_pipeline.storage.inputs.images import Image
from ssi_pipeline.storage.state.collection import Collection
from ssi_pipeline.storage.state.document import StatePaths

_SIGNS: dict[State, str] = {
    "complete": "✓",
    "running": "▶",
    "incomplete": "◑",
    "failed": "✗",
    "refused": "⊘",
    "pending": "·",
}
_WORST: tuple[State, ...] = ("failed", "refused", "incomplete", "running", "pending", "complete")
"""A well with several images shows the first of these that one has."""


def write_index(collection: Collection, output: Path | None = None, configuration: str = "run.yaml") -> Path:
    """Write the index as one HTML file; return its path.

    Parameters
    ----------
    output
        The file to write, by default ``report.html`` in the state folder. It is replaced atomically.
    configuration
        The file that the run is configured by, for commands shown.

    Raises
    ------
    InputError
        There is no run.
    OutputError
        The file cannot be written.
    """
    if not collection.paths.document.exists():
        raise InputError(f"no run found at {collection.paths.root}: start one with `ssi run`")
    path = page_path(StatePaths(collection.paths.root), output)
    status = read_collection(collection)
    sections = [_overview(collection, status, configuration), _table(collection, status, path, configuration)]
    write_page(path, collection.config.output.path.name, _headline(status), sections)
    return path


def _headline(status: CollectionStatus) -> tuple[str, str]:
    counts = status.counts
    if status.client:
        return "running", "running"
    if status.complete:
        return "complete", f"complete: {len(status.images)} images"
    if bad := counts.get("failed", 0) + counts.get("refused", 0):
        return "failed", f"incomplete: {bad} of {len(status.images)} images failed"
    return "incomplete", "incomplete: resume with ssi run"


def _overview(collection: Collection, status: CollectionStatus, configuration: str) -> Section:
    """Return the counts, and for a plate its wells."""
    wells: dict[str, list[tuple[Image, ImageStatus]]] = {}
    for image, found in zip(collection.images, status.images, strict=True):
        if image.well:
            wells.setdefault(image.well, []).append((image, found))
    columns, rows = _grid(collection.plate, wells)
    counts = ", ".join(f"{n} {state}" for state, n in status.counts.items())
    tiles = f"{status.total('tiles_done')} tiles done, {status.total('flagged')} flagged"
    return Section(
        "overview",
        "Plate" if columns else "Images",
        render(
            "images",
            counts=f"{len(status.images)} images: {counts}; {tiles}",
            failed=status.counts.get("failed", 0) + status.counts.get("refused", 0),
            command=f"ssi run {configuration} --retry-failed",
            columns=columns,
            rows=rows,
            signs=", ".join(f"{sign} {state}" for state, sign in _SIGNS.items()),
        ),
    )


def _grid(
    plate: Mapping[str, Any], wells: Mapping[str, Sequence[tuple[Image, ImageStatus]]]
) -> tuple[list[str], list[tuple[str, list[dict[str, Any] | None]]]]:
    """Return the names of the columns, and each row with its wells."""
    pairs = [well.split("/") for well in wells]
    columns, rows = (
        _names(plate.get("columns"), [c for _, c in pairs]),
        _names(plate.get("rows"), [r for r, _ in pairs]),
    )
    return columns, [(row, [_well(wells.get(f"{row}/{column}")) for column in columns]) for row in rows]


def _names(listed: Any, used: Sequence[str]) -> list[str]:
    known = [str(entry.get("name")) for entry in listed if isinstance(entry, Mapping)] if used and listed else []
    return list(dict.fromkeys([*known, *used]))


def _well(images: Sequence[tuple[Image, ImageStatus]] | None) -> dict[str, Any] | None:
    if images is None:
        return None
    states = {found.state for _, found in images}
    state = next(state for state in _WORST if state in states)
    flagged = sum(found.flagged for _, found in images)
    title = "; ".join(f"{image.name}: {found.state} {found.error}".strip() for image, found in images)
    return {
        "anchor": _anchor(images[0][0].name),
        "title": title,
        "sign": f"{_SIGNS[state]}{f' {flagged}' if flagged else ''}",
    }


def _table(collection: Collection, status: CollectionStatus, path: Path, configuration: str) -> Section:
    images = [
        {
            "name": found.name,
            "anchor": _anchor(found.name),
            "report": _link(collection, found.name, path),
            "state": found.state,
            "tiles": found.tiles,
            "done": found.tiles_done,
            "failed": found.tiles_failed,
            "flagged": found.flagged,
            "seconds": "" if found.seconds_per_tile is None else f"{found.seconds_per_tile:.2g}",
            "methods": ", ".join(f"{name} {count}" for name, count in found.methods),
            "error": found.error,
        }
        for found in status.images
    ]
    command = f"ssi report {configuration} --image {status.images[0].name}"
    return Section("images", "Each image", render("image_table", images=images, command=command))


def _anchor(name: str) -> str:
    return f"image-{name.replace('/', '-')}"


def _link(collection: Collection, name: str, page: Path) -> str:
    """Return the address of an image's report as seen from the page; empty where it was not written."""
    report = StatePaths(collection.paths.state(name)).report
    return quote(os.path.relpath(report, page.parent)) if report.exists() else ""
