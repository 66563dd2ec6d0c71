"""Was every tile made from the pixels that the input has now? Proved by reading all of them again."""

from __future__ import annotations

from collections.abc import Callable

from ssi_pipeline.config import RunConfig
from ssi_pipeline.run.checks.input_check import Comparison, compare_input
from ssi_pipeline.tasks.opening import open_context


def verify_input(config: RunConfig, tell: Callable[[int, int], None] = lambda *_: None) -> Comparison:
    """Read the input of every solved tile again, whatever the times of its files, and compare.

    Nothing is recorded: what was made from other pixels is right for these, and ``ssi run`` refuses to go on.
    ``tell`` receives the number of tiles compared, and their total.

    Raises
    ------
    InputError
        There is no run, or the input cannot be opened.
    """
    return compare_input(open_context(config), tell)


def describe_input(found: Comparison) -> list[str]:
    """Return what was found, every change by itself, and the counts last."""
    same = found.compared - found.tiles - found.unreadable
    lines = [*found.changed, f"{same} of {found.compared} solved tiles were made from the input as it is"]
    if found.tiles:
        lines[-1] += f", {found.tiles} from other pixels"
    if found.unreadable:
        lines[-1] += f", {found.unreadable} cannot be read from it now"
    if found.unrecorded:
        lines.append(f"of {found.unrecorded} tiles an earlier release recorded no digest: they cannot be compared")
    if found.changed:
        lines.append("put the input back as it was, or start over with `ssi run --new` (the old output is kept aside)")
    return lines
