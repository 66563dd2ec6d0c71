"""Open a run, in the client or in a worker; count its tasks, and locate its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import InputError, MissingStateError, RunChangedError
from ssi_pipeline.geometry import Box
from ssi_pipeline.storage.state.compute import Compute
from ssi_pipeline.storage.state.document import RunDocument, StatePaths
from ssi_pipeline.storage.state.records import Job, Kind
from ssi_pipeline.tasks.context import Context


@dataclass(frozen=True, slots=True)
class RunSpec:
    """State folder and fingerprint of a run: all that is sent to a worker besides jobs.

    ``compute``: device and precision, as a worker may have cached a document from before they were settled; None for
    the single process of a pilot or preview. ``versions``: index of the client's set of versions in the run's
    (``RunDocument.version_sets``).
    """

    state: str
    fingerprint: str
    compute: Compute | None = None
    versions: int = 0


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
    there = loaded.config.with_input(config.input.path, config.input.mask).with_output(
        config.output.path, config.output.state
    )
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


def refuse_later_jobs(context: Context, jobs: Sequence[Job]) -> None:
    """Refuse jobs of a larger plan of growing data: a network file system may show a document from before they grew.

    It may show an earlier input too. Tiles and blocks keep their index as data grow; of coarser levels an index counts
    at one number of time points.

    Raises
    ------
    MissingStateError
        There is one; the pause before the next try is enough for the file system.
    """
    if context.document.frames is None:  # a plan that does not grow
        return
    counts = task_counts(context)
    frames = context.document.frames
    if any(job.index >= counts[job.kind] or job.frames not in (None, frames) for job in jobs):
        raise MissingStateError(f"{context.paths.document} is an earlier one on this machine, without the new tiles")
    if jobs[0].kind in ("stitch", "pyramid"):  # these do not read the input
        return
    try:
        _ = context.source
    except (InputError, RunChangedError) as problem:  # the client has seen these time points
        raise MissingStateError(f"the input is an earlier one on this machine: {problem}") from problem


def block_place(context: Context, kind: Kind, index: int) -> tuple[int, int, int, Box]:
    """Return level, t, c and box (z y x) of a written block."""
    if kind == "stitch":
        block = context.plan.block(index)
        return 0, block.t, block.c, block.write
    coarse = context.pyramid.block(index)
    return coarse.level, coarse.t, coarse.c, coarse.write


def load_context(spec: RunSpec) -> Context:
    """Open a run; cached until a client starts it again, which may be another run on the same output.

    Raises
    ------
    RunChangedError
        The state folder belongs to another run.
    """
    stat = StatePaths(Path(spec.state)).document.stat()
    return _load(spec, (stat.st_mtime_ns, stat.st_ino, stat.st_dev))


def forget_contexts() -> None:
    """Clear the cache, after a mount was lost."""
    _load.cache_clear()


@lru_cache(maxsize=4)
def _load(spec: RunSpec, stamp: tuple[int, int, int]) -> Context:  # noqa: ARG001 part of the cache's key
    paths = StatePaths(Path(spec.state))
    document = RunDocument.load(paths.document)
    if document.fingerprint != spec.fingerprint:
        raise RunChangedError(f"{paths.document} belongs to run {document.fingerprint}, expected {spec.fingerprint}")
    context = Context(document.settled(spec.compute), paths)
    _ = context.mounts  # before anything is read
    return context
