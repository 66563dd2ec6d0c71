"""Execute jobs in a worker; the only place where exceptions of tasks are converted to records."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ssi_pipeline.errors import DamagedStateError, ExecutorError, MissingStateError, SsiError, UnfitError
from ssi_pipeline.redact import redact
from ssi_pipeline.storage.inputs.source import clear_sources
from ssi_pipeline.storage.outputs.scratch import ScratchError
from ssi_pipeline.storage.state.made_from import join_digests
from ssi_pipeline.storage.state.records import Failure, Job, TaskRecord
from ssi_pipeline.storage.system_errors import breaks_machine, described, refuses_writes
from ssi_pipeline.tasks.ability import place_of_worker, require
from ssi_pipeline.tasks.channels import calibrate_channel, train_channel
from ssi_pipeline.tasks.context import Context
from ssi_pipeline.tasks.device import device_name, peak_bytes, reset_peak, use_threads
from ssi_pipeline.tasks.gpu_errors import is_broken_gpu, process_is_lost
from ssi_pipeline.tasks.opening import RunSpec, forget_contexts, load_context
from ssi_pipeline.tasks.reading import noted_reads
from ssi_pipeline.tasks.solve_tile import solve_tile
from ssi_pipeline.tasks.versions import refuse_other_versions
from ssi_pipeline.tasks.worker_log import task_log
from ssi_pipeline.tasks.write_block import stitch_block, write_pyramid_block

BATCH_SECONDS = 1.0
"""A batch is ended after this time; the caller submits the rest again."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 30.0


def execute(spec: RunSpec, jobs: Sequence[Job]) -> list[TaskRecord]:
    """Run jobs one after the other; an error of a job is in its record and does not stop the others.

    Batches are meant for short jobs. If the jobs are long, the batch ends early, and the jobs without a record are
    submitted again.
    """
    started = time.perf_counter()
    try:
        context = load_context(spec)
        refuse_other_versions(context.document, spec)
    except (OSError, ExecutorError) as problem:  # a failure of the shared storage: recorded with the host
        return [_slowly(_failed(jobs[0], problem, started))]
    _use_threads(context.document.config.executor.threads, jobs)
    records: list[TaskRecord] = []
    for job in jobs:
        records += [replace(record, versions=spec.versions) for record in _execute_one(context, job)]
        if time.perf_counter() - started > BATCH_SECONDS or _slowly(records[-1]).of_machine:
            break
    return records


_failures_in_a_row = 0


def _slowly(record: TaskRecord) -> TaskRecord:
    """Delay failures of this machine, longer each time: a fast-failing machine would consume all tasks."""
    global _failures_in_a_row
    _failures_in_a_row = _failures_in_a_row + 1 if record.of_machine else 0
    if _failures_in_a_row:
        time.sleep(min(_FIRST_PAUSE_S * 2 ** (_failures_in_a_row - 1), _LONGEST_PAUSE_S))
    return record


def _failed(job: Job, problem: Exception, started: float) -> TaskRecord:
    return TaskRecord(
        job.kind,
        job.index,
        "failed",
        job.attempt,
        seconds=round(time.perf_counter() - started, 4),
        host=place_of_worker(),
        finished=round(time.time(), 3),
        error=_explain(problem),
        failure=Failure("machine"),
    )


def _execute_one(context: Context, job: Job) -> list[TaskRecord]:
    reset_peak()
    device = _device(context, job)
    log = task_log(context, job, device or "cpu")
    log.begun()
    started = time.perf_counter()
    written: list[TaskRecord] = []
    error, trace, source, failure = None, "", "", None
    try:
        with noted_reads() as digests:
            quality, written = _do(context, job)
        source = join_digests(digests)
        context.mounts.check(job.kind)
    except Exception as raised:  # the task boundary: recorded, and handled by the client
        problem = _cause(context, job, raised)
        error, trace, failure = _explain(problem), traceback.format_exc(), failure_of(problem)
        if isinstance(raised, RuntimeError) and process_is_lost():
            failure = Failure("machine", process=True)
        quality, written = {}, []
    record = TaskRecord(
        kind=job.kind,
        index=job.index,
        status="failed" if error else "done",
        attempt=job.attempt,
        seconds=round(time.perf_counter() - started, 4),
        peak_bytes=peak_bytes(),
        host=place_of_worker(),
        finished=round(time.time(), 3),
        quality=quality,
        error=error,
        device=device.partition(" ")[2] or device,
        source=source,
        failure=failure,
    )
    log.ended(record, trace)
    # the tile first: after a kill in between, a tile without its blocks is solved again, while one with all blocks and
    # no record of its own would never be
    return [record, *written]


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


def _do(context: Context, job: Job) -> tuple[dict[str, Any], list[TaskRecord]]:
    compute = context.document.compute
    if compute is not None and _uses_device(context, job):
        require(compute)
    return solve_tile(context, job) if job.kind == "solve" else (_SIMPLE[job.kind](context, job), [])


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


_SIMPLE = {
    "calibrate": calibrate_channel,
    "train": train_channel,
    "stitch": stitch_block,
    "pyramid": write_pyramid_block,
}


def _device(context: Context, job: Job) -> str:
    """Return the device of a task as text; empty if it only moves data."""
    if _uses_device(context, job):
        return device_name(context.document.config.executor.device)
    return "cpu" if job.kind in ("solve", "calibrate") else ""


def _uses_device(context: Context, job: Job) -> bool:
    return job.kind in ("solve", "train") and context.document.config.method.computes


def _explain(problem: Exception) -> str:
    """Return an error as text, with its place in the code unless it is an error of this package."""
    text = redact(f"{type(problem).__name__}: {problem}")
    if isinstance(problem, SsiError):
        return text
    frame = traceback.extract_tb(problem.__traceback__)[-1]
    return f"{text} (at {frame.filename}:{frame.lineno})"


def _use_threads(threads: int, jobs: Sequence[Job]) -> None:
    """Set torch's number of threads for jobs that compute."""
    if not all(job.kind in ("stitch", "pyramid") for job in jobs):  # these need no torch, whose import takes seconds
        use_threads(threads)
