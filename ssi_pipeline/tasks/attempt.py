"""One attempt at a job in three steps: read, compute, write; the only place where exceptions become records."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from ssi_pipeline.errors import DamagedStateError, ExecutorError, MissingStateError, SsiError, UnfitError
from ssi_pipeline.redact import redact
from ssi_pipeline.storage.inputs.source import clear_sources
from ssi_pipeline.storage.outputs.scratch import ScratchError
from ssi_pipeline.storage.state.made_from import join_digests
from ssi_pipeline.storage.state.records import Failure, Job, Kind, TaskRecord
from ssi_pipeline.storage.system_errors import breaks_machine, described, refuses_writes
from ssi_pipeline.tasks.ability import place_of_worker, require
from ssi_pipeline.tasks.channels import calibrate_channel, train_channel
from ssi_pipeline.tasks.context import Context
from ssi_pipeline.tasks.device import NO_PEAKS, device_name, peaks, reset_peaks
from ssi_pipeline.tasks.gpu_errors import is_broken_gpu, process_is_lost
from ssi_pipeline.tasks.opening import forget_contexts
from ssi_pipeline.tasks.reading import noted_reads
from ssi_pipeline.tasks.solve_tile import read_tile, solve_tile, write_tile
from ssi_pipeline.tasks.worker_log import task_log
from ssi_pipeline.tasks.write_block import (
    average_block,
    read_finer,
    read_parts,
    stitch_block,
    write_pyramid_block,
    write_stitched,
)

Written = tuple[dict[str, Any], list[TaskRecord]]
"""The metrics of a record, and the records of what was written besides."""


def _nothing(context: Context, job: Job) -> None:
    """Read nothing: the task reads as it computes."""


def _found(context: Context, job: Job, found: dict[str, Any]) -> Written:  # noqa: ARG001 signature of a step
    """Write nothing: the client stores what was found."""
    return found, []


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps of a kind of task: ``compute`` takes what ``read`` returned, ``write`` what ``compute`` did."""

    compute: Callable[[Context, Job, Any], Any]
    read: Callable[[Context, Job], Any] = _nothing
    write: Callable[[Context, Job, Any], Written] = _found


STEPS: dict[Kind, Steps] = {
    "calibrate": Steps(lambda context, job, _: calibrate_channel(context, job)),
    "train": Steps(lambda context, job, _: train_channel(context, job)),
    "solve": Steps(solve_tile, read_tile, write_tile),
    "stitch": Steps(stitch_block, read_parts, write_stitched),
    "pyramid": Steps(average_block, read_finer, write_pyramid_block),
}


class Attempt:
    """An attempt at a job: ``read``, ``compute`` and ``write``, once each, in threads one after the other.

    After an error the remaining steps do nothing, except that ``write`` returns the record of the failure.
    """

    def __init__(self, context: Context, job: Job) -> None:
        self._context, self._job = context, job
        self._data: Any = None
        self._digests: list[str] = []
        self._error: str | None = None
        self._trace = ""
        self._failure: Failure | None = None
        self._peaks = NO_PEAKS

    def read(self) -> Self:
        """Read what the job needs."""
        self._device = _device(self._context, self._job)
        self._log = task_log(self._context, self._job, self._device or "cpu")
        self._log.begun()
        self._step(lambda: STEPS[self._job.kind].read(self._context, self._job))
        return self

    def compute(self) -> Self:
        """Compute; the peaks of memory are those of this step."""
        reset_peaks()
        self._step(self._computed)
        self._peaks = peaks()
        return self

    def write(self, since: float) -> list[TaskRecord]:
        """Store the result and return the records: the job's, and those of what was written besides."""
        self._step(self._stored)
        quality, written = ({}, []) if self._error else self._data
        self._data = None
        record = TaskRecord(
            kind=self._job.kind,
            index=self._job.index,
            status="failed" if self._error else "done",
            attempt=self._job.attempt,
            seconds=round(time.perf_counter() - since, 4),
            peak_bytes=self._peaks.host,
            device_peak_bytes=self._peaks.device,
            host=place_of_worker(),
            finished=round(time.time(), 3),
            quality=quality,
            error=self._error,
            device=self._device.partition(" ")[2] or self._device,
            source="" if self._error else join_digests(self._digests),
            failure=self._failure,
        )
        self._log.ended(record, self._trace)
        # the tile first: after a kill in between, a tile without its blocks is solved again, while one with all blocks
        # and no record of its own would never be
        return [record, *written]

    def _computed(self) -> Any:
        compute = self._context.document.compute
        if compute is not None and _uses_device(self._context, self._job):
            require(compute)
        return STEPS[self._job.kind].compute(self._context, self._job, self._data)

    def _stored(self) -> Written:
        written = STEPS[self._job.kind].write(self._context, self._job, self._data)
        self._context.mounts.check(self._job.kind)
        return written

    def _step(self, step: Callable[[], Any]) -> None:
        """Take a step, unless one before has failed, and keep what it returns or its error."""
        if self._error is not None:
            return
        try:
            with noted_reads() as digests:
                self._data = step()
            self._digests += digests
        except Exception as raised:  # the task boundary: recorded, and handled by the client
            problem = _cause(self._context, self._job, raised)
            self._error, self._trace, self._data = explained(problem), traceback.format_exc(), None
            lost = isinstance(raised, RuntimeError) and process_is_lost()
            self._failure = Failure("machine", process=True) if lost else failure_of(problem)


def _cause(context: Context, job: Job, raised: Exception) -> Exception:
    """Return the cause of a failure: a lost mount takes precedence over the raised error."""
    try:
        context.mounts.check(job.kind)
    except OSError as problem:
        raised = problem
    if isinstance(raised, MissingStateError):
        forget_contexts()
        clear_sources()
    return described(raised) if isinstance(raised, OSError) else raised


def failure_of(problem: Exception) -> Failure | None:
    """Return the cause of an error; None for the task itself."""
    if isinstance(problem, UnfitError):
        return Failure("worker")
    if isinstance(problem, ScratchError):
        return Failure("scratch", problem.tile)
    if isinstance(problem, DamagedStateError) or refuses_writes(problem):
        return Failure("run")
    if isinstance(problem, ExecutorError | MissingStateError) or breaks_machine(problem):
        return Failure("machine")
    return Failure("machine") if is_broken_gpu(problem) else None


def _device(context: Context, job: Job) -> str:
    """Return the device of a task as text; empty if it only moves data."""
    if _uses_device(context, job):
        return device_name(context.document.config.executor.device)
    return "cpu" if job.kind in ("solve", "calibrate") else ""


def _uses_device(context: Context, job: Job) -> bool:
    return job.kind in ("solve", "train") and context.document.config.method.computes


def explained(problem: Exception) -> str:
    """Return an error as text, with its place in the code unless it is an error of this package."""
    text = redact(f"{type(problem).__name__}: {problem}")
    if isinstance(problem, SsiError):
        return text
    frame = traceback.extract_tb(problem.__traceback__)[-1]
    return f"{text} (at {frame.filename}:{frame.lineno})"
