"""Schedule jobs in a rolling window: a few jobs per worker are submitted at a time, and their results recorded."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import replace

from ssi_pipeline.errors import OutputError
from ssi_pipeline.executors import Completed, Executor
from ssi_pipeline.run.failure_budget import FailureBudget
from ssi_pipeline.run.prepare import WINDOW_PER_SLOT
from ssi_pipeline.run.session import RunSession
from ssi_pipeline.run.stages import Stage
from ssi_pipeline.run.stop import GRACE_SECONDS
from ssi_pipeline.run.unfit import UnfitWorkers
from ssi_pipeline.storage.state.ledger import DONE, FAILED, TODO
from ssi_pipeline.storage.state.records import Job, Kind, TaskRecord

_BATCH_SECONDS = 0.5
"""Short jobs are sent in batches of this length, to amortise the round trip; a kill loses at most this."""

_SOLVE_BATCH_SECONDS = 4.0
"""The same for tiles: only within a batch is a tile read while the one before is solved."""

_BATCHES_LEFT = 4
"""Batches of tiles for each worker that the tiles not yet submitted must suffice for: at the end of a run no worker
waits for the long batch of another."""

_OF_LIMIT = 0.25
"""Largest part of a configured time limit of a tile that a batch of tiles may take."""

_MOST_IN_BATCH = 64
_POLL_SECONDS = 0.2


class Scheduler:
    """Runs the stages of a run on an executor."""

    def __init__(
        self, session: RunSession, executor: Executor, budget: FailureBudget, unfit: UnfitWorkers, attempts: int
    ) -> None:
        self._session = session
        self._executor = executor
        self._budget = budget
        self._unfit = unfit
        self._attempts = attempts
        self._within = slice(None)
        self._withdrawn = False
        self._retry: deque[Job] = deque()
        self._alone: deque[Job] = deque()
        self._seconds: dict[Kind, float] = {}
        limit = session.context.document.config.executor.tile_limit_s
        most = math.inf if limit == "auto" or limit is None else _OF_LIMIT * limit
        self._solve_batch_seconds = min(_SOLVE_BATCH_SECONDS, max(_BATCH_SECONDS, most))

    def drive(self, stage: Stage, counted: Kind, title: str) -> bool:
        """Run a stage to its end; ``counted``: the kind of job that the display counts.

        Returns False if the run was asked to stop before the stage was done.
        """
        session = self._session
        self._within = within = session.scope.within if counted == "solve" else slice(None)
        self._withdrawn = False
        state, display, stop, ledger = session.state, session.display, session.stop, session.ledger
        display.start(title, state.count(counted, DONE, within), len(state.status[counted][within]))
        try:
            while True:
                self._fill_or_withdraw(stage)
                if self._executor.pending == 0 or stop.overdue:
                    return not stop.requested
                for completed in self._executor.completed(_POLL_SECONDS):
                    self._take(completed, stage)
                if ledger.sync_if_due():
                    stage.synced()
                self._show(counted)
        finally:
            self._show(counted)
            ledger.sync()
            stage.synced()
            display.finish_stage()

    def _fill_or_withdraw(self, stage: Stage) -> None:
        if not self._session.stop.requested:
            self._fill(stage)
        elif not self._withdrawn:
            self._withdrawn = True
            self._executor.withdraw()
            grace = f"waiting up to {GRACE_SECONDS:.0f} s for running tiles"
            self._session.display.line(f"stopping: {grace}; press Ctrl-C again to stop at once")

    def _show(self, counted: Kind) -> None:
        done, failed = (self._session.state.count(counted, code, self._within) for code in (DONE, FAILED))
        self._session.display.note(done, failed, self._executor.pending)

    def _fill(self, stage: Stage) -> None:
        slots = self._executor.slots
        while True:
            if self._executor.pending >= self._window(slots):
                return
            job = self._next(stage)
            if job is None:
                if self._alone and self._executor.pending == 0:  # last of all, when no other task can be affected
                    self._executor.submit([self._alone.popleft()])
                return
            batch, size = [job], self._size_now(job.kind, slots)
            while len(batch) < size:
                another = self._next(stage)
                if another is None:
                    break
                if another.kind != job.kind:  # a batch has one kind, as durations differ
                    self._retry.appendleft(another)
                    break
                batch.append(another)
            self._executor.submit(batch)

    def _next(self, stage: Stage) -> Job | None:
        return self._retry.popleft() if self._retry else stage.next_job()

    def _window(self, slots: int) -> int:
        size = max((self._batch_size(kind) for kind in self._seconds), default=1)
        return WINDOW_PER_SLOT * slots * size

    def _size_now(self, kind: Kind, slots: int) -> int:
        """Return the number of jobs in the next batch; fewer tiles where few are left."""
        size = self._batch_size(kind)
        if kind != "solve" or size == 1:
            return size
        left = self._session.state.count(kind, TODO, self._within) - self._executor.pending
        return max(1, min(size, left // (_BATCHES_LEFT * slots)))

    def _batch_size(self, kind: Kind) -> int:
        seconds, length = self._seconds.get(kind), self._solve_batch_seconds if kind == "solve" else _BATCH_SECONDS
        return 1 if seconds is None else max(1, min(_MOST_IN_BATCH, int(length / max(seconds, 1e-4))))

    def _take(self, completed: Completed, stage: Stage) -> None:
        if completed.lost is not None:
            if completed.preempted:
                self._budget.note_infrastructure_failure(completed.lost)
            for job in completed.jobs:
                self._take_lost(job, completed.lost, completed.preempted, stage)
        asked = {job.key: job for job in completed.jobs}
        recorded = {record.key for record in completed.records}
        if completed.lost is None:
            self._retry.extendleft(job for job in reversed(completed.jobs) if job.key not in recorded)
        stops = [record for record in completed.records if record.fault == "run"]
        for record in completed.records:
            if record not in stops and not (record.status == "failed" and self._retried(asked[record.key], record)):
                self._record(record, stage)
        if stops:
            raise OutputError(f"{stops[0].key} on {stops[0].host}: {stops[0].error}, and run again to resume")

    def _retried(self, job: Job, record: TaskRecord) -> bool:
        """Queue a failed task for another attempt, if the cause of the failure or its number of attempts allows it."""
        if record.fault == "worker":
            self._unfit.note(record.host, str(record.error).removeprefix("UnfitError: "))
            self._retry.append(job)
        elif record.of_lost_process:
            return self._retried_elsewhere(job, record)
        elif record.fault == "machine" and self._budget.is_machine_fault(record.key):
            self._budget.note_infrastructure_failure(f"{record.key}: {record.error}", record.host.split(":")[0])
            self._retry.append(job)
        elif record.status == "failed" and record.fault != "scratch" and record.attempt < self._attempts:
            self._retry.append(replace(job, attempt=record.attempt + 1))
        else:
            return False
        return True

    def _retried_elsewhere(self, job: Job, record: TaskRecord) -> bool:
        """Queue a task after which its process can compute no more, unless it has cost too many.

        It counts as a worker that died with the task, in the ledger too: a run in one process ends here, and would
        otherwise begin with the same task for ever.
        """
        count = self._budget.note_worker_loss(job.key)
        if self._budget.used_up(job.key):
            return False
        self._session.record(replace(record, status="invalid"))
        said = f"{job.key} took its process along ({count} of {self._budget.per_tile}), will be retried"
        self._session.display.line(f"{said}: {record.error}")
        self._budget.note_infrastructure_failure(f"{record.key}: {record.error}", record.host.split(":")[0])
        (self._alone if self._budget.last_try(job.key) else self._retry).append(job)
        return True

    def _record(self, record: TaskRecord, stage: Stage) -> None:
        if record.status == "done":
            self._budget.done(record)
            if record.kind in ("solve", "train"):
                self._unfit.done()
        if record.status == "done" and record.seconds:
            before = self._seconds.get(record.kind, record.seconds)
            self._seconds[record.kind] = 0.8 * before + 0.2 * record.seconds
        self._session.record(record)
        self._session.display.task(record)
        for consequence in stage.note(record):
            self._session.record(consequence)
        if record.status == "failed":
            self._session.display.line(f"{record.key} failed: {record.error}")

    def _take_lost(self, job: Job, why: str, preempted: bool, stage: Stage) -> None:
        """Handle a job lost with its worker; the job may be the cause, so its last attempt runs alone."""
        self._session.lost.note(job.key, why, preempted)
        if preempted and self._budget.is_machine_fault(job.key):
            self._session.display.line(f"{job.key} preempted, will be retried: {why}")
            self._retry.append(job)
            return
        count = self._budget.note_worker_loss(job.key)
        if self._budget.used_up(job.key):
            error = f"{why}, {count} times"
            record = TaskRecord(job.kind, job.index, "failed", job.attempt, finished=time.time(), error=error)
            self._record(record, stage)
            return
        self._session.display.line(f"{job.key} lost ({count} of {self._budget.per_tile}), will be retried: {why}")
        (self._alone if self._budget.last_try(job.key) else self._retry).append(job)
