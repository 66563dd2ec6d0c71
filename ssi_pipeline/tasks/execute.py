"""Execute jobs in a worker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.storage.state.records import Failure, Job, TaskRecord
from ssi_pipeline.tasks.ability import place_of_worker
from ssi_pipeline.tasks.attempt import Attempt, explained
from ssi_pipeline.tasks.device import use_threads
from ssi_pipeline.tasks.opening import RunSpec, load_context, refuse_later_jobs
from ssi_pipeline.tasks.read_ahead import run_in_turn
from ssi_pipeline.tasks.versions import refuse_other_versions

_BATCH_SECONDS = 1.0
"""A batch is ended after this time; the caller submits the rest again."""

_SOLVE_BATCH_SECONDS = 8.0
"""The same for tiles, which are longer: only within a batch is a tile read while the one before is solved."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 30.0


def execute(spec: RunSpec, jobs: Sequence[Job]) -> list[TaskRecord]:
    """Run jobs of one kind in their order; an error of a job is in its record and does not stop the others.

    Batches are meant for short jobs. If the jobs are long, the batch ends early, and the jobs without a record are
    submitted again.
    """
    started = time.perf_counter()
    try:
        context = load_context(spec)
        refuse_other_versions(context.document, spec)
        refuse_later_jobs(context, jobs)
    except (OSError, ExecutorError) as problem:  # a failure of the shared storage: recorded with the host
        return [_slowly(_failed(jobs[0], problem, started))]
    _use_threads(context.document.config.executor.threads, jobs)
    records: list[TaskRecord] = []

    def done(found: list[TaskRecord]) -> bool:
        """Keep the records of a task; after a failure of this machine the rest of the batch is for others."""
        records.extend(replace(record, versions=spec.versions) for record in found)
        return not _slowly(found[-1]).of_machine

    seconds = _SOLVE_BATCH_SECONDS if jobs[0].kind == "solve" else _BATCH_SECONDS
    run_in_turn([Attempt(context, job) for job in jobs], seconds, done)
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
        error=explained(problem),
        failure=Failure("machine"),
    )


def _use_threads(threads: int, jobs: Sequence[Job]) -> None:
    """Set torch's number of threads for jobs that compute."""
    if not all(job.kind in ("stitch", "pyramid") for job in jobs):  # these need no torch, whose import takes seconds
        use_threads(threads)
