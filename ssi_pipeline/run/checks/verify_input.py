"""Verify the input: read the pixels of every solved tile again and compare their digests."""

from __future__ import annotations

from collections.abc import Callable

from ssi_pipeline.config import RunConfig
from ssi_pipeline.run.checks.input_check import Comparison, compare_input
from ssi_pipeline.tasks.opening import open_context


def verify_input(config: RunConfig, on_progress: Callable[[int, int], None] = lambda *_: None) -> Comparison:
    """Read the input of every solved tile again, also where file times are unchanged, and compare.

    Nothing is recorded: tiles computed from other pixels are valid for these, and ``ssi run`` refuses to continue.
    ``on_progress`` receives the number of tiles compared, and their total.

    Raises
    ------
    InputError
        There is no run, or the input cannot be opened.
    """
    return compare_input(open_context(config), on_progress)


def describe_input(found: Comparison) -> list[str]:
    """Return one line per change, then the counts."""
    same = found.compared - found.tiles - found.unreadable
    lines = [*found.changed, f"{same} of {found.compared} solved tiles match the current input"]
    if found.tiles:
        lines[-1] += f", {found.tiles} were computed from other pixels"
    if found.unreadable:
        lines[-1] += f", {found.unreadable} cannot be read now"
    if found.unrecorded:
        lines.append(f"{found.unrecorded} tiles of an earlier release have no digests: they cannot be compared")
    if found.changed:
        lines.append("restore the input, or start over with `ssi run --new` (the old output is kept as a backup)")
    return lines
