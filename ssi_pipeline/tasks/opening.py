"""Open the run of a configuration; count its tasks, and locate its blocks."""

from __future__ import annotations

from dataclasses import replace

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry import Box
from ssi_pipeline.storage.state.document import RunDocument, StatePaths
from ssi_pipeline.storage.state.records import Kind
from ssi_pipeline.tasks.context import Context


def open_context(config: RunConfig) -> Context:
    """Open the run of a configuration's output.

    Raises
    ------
    InputError
        There is no run.
    """
    paths = StatePaths(config.state_path)
    if not paths.document.exists():
        raise InputError(f"no run found at {paths.root}: start one with `ssi run`")
    loaded = RunDocument.load(paths.document)
    # output and state may have been moved or copied together: use their current paths
    there = loaded.config.with_input(config.input.path).with_output(config.output.path, config.output.state)
    return Context(replace(loaded, config=there), paths)


def task_counts(context: Context) -> dict[Kind, int]:
    """Return the number of tasks of each kind that a run has."""
    channels = context.plan.shape[1]
    return {
        "calibrate": channels,
        "train": channels,
        "solve": context.plan.n_tiles,
        "stitch": context.plan.n_blocks,
        "pyramid": context.pyramid.total_blocks,
    }


def block_place(context: Context, kind: Kind, index: int) -> tuple[int, int, int, Box]:
    """Return level, t, c and box (z y x) of a written block."""
    if kind == "stitch":
        block = context.plan.block(index)
        return 0, block.t, block.c, block.write
    coarse = context.pyramid.block(index)
    return coarse.level, coarse.t, coarse.c, coarse.write
