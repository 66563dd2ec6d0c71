"""Versions of this package and its numerical dependencies that computed an output."""

from __future__ import annotations

from dataclasses import dataclass

from ssi_pipeline.results.ledger_summary import Tally
from ssi_pipeline.storage.state.document import RunDocument
from ssi_pipeline.storage.state.versions import describe_change, installed_versions


@dataclass(frozen=True, slots=True)
class MadeBy:
    """A set of versions by name, and the number of tiles solved with it."""

    versions: dict[str, str]
    tiles: int


def describe_other_versions(document: RunDocument) -> list[str]:
    """Return a line on versions that differ from those at the start of the run; none if all are equal."""
    change = describe_change(document.versions, installed_versions())
    if not change:
        return []
    return [
        f"this run was started with other versions: {change}. Tiles solved from now on may differ in their last "
        "digits; the provenance of the output lists all versions with their numbers of tiles"
    ]


def made_by(document: RunDocument, tally: Tally) -> list[MadeBy]:
    """Return the sets of versions that solved tiles; the first set for a run without tiles."""
    sets = document.version_sets
    counts = tally.tiles_by_versions(len(sets))
    found = [MadeBy(versions, tiles) for versions, tiles in zip(sets, counts, strict=True) if tiles]
    return found or [MadeBy(sets[0], 0)]
