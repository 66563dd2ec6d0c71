"""The rolling window: keep a few jobs under way for each worker, record what comes back, never hold the rest."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace

from ssi_pipeline.errors import OutputError
from ssi_pipeline.executors import Completed, Executor
from ssi_pipeline.run.failure_budget import FailureBudget
from ssi_pipeline.run.prepare import WINDOW_PER_SLOT
from ssi_pipeline.run.session import RunSession
from ssi_pipeline.run.stages import Stage
from ssi_pipeline.run.unfit import UnfitWorkers
from ssi_pipeline.storage.state.ledger import DONE, FAILED
from ssi_pipeline.storage.state.records import Job, Kind, TaskRecord

_BATCH_SECONDS = 0.5
"""Short jobs travel together, so that a round trip to a worker costs little; it is also what a kill may cost."""

_MOST_IN_BATCH = 64
_POLL_SECONDS = 0.2


class Scheduler:
    """Drives the stages of one run through an executor."""

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

    def drive(self, stage: Stage, counted: Kind, title: str) -> bool:
        """Run a stage to its end; ``counted`` is the kind of job that the display counts.

        Returns False when the run was asked to stop before the stage was through.
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
                self._tell(counted)
        finally:
            self._tell(counted)
            ledger.sync()
            stage.synced()
            display.finish_stage()

    def _fill_or_withdraw(self, stage: Stage) -> None:
        if not self._session.stop.requested:
            self._fill(stage)
        elif not self._withdrawn:
            self._withdrawn = True
            self._executor.withdraw()
            self._session.display.line("stopping: running tiles get some seconds to finish; Ctrl-C again gives them up")

    def _tell(self, counted: Kind) -> None:
        done, failed = (self._session.state.count(counted, code, self._within) for code in (DONE, FAILED))
        self._session.display.note(done, failed, self._executor.pending)

    def _fill(self, stage: Stage) -> None:
        slots = self._executor.slots
        while True:
            if self._executor.pending >= self._window(slots):
                return
            job = self._next(stage)
            if job is None:
                if self._alone and self._executor.pending == 0:  # the last of all, when nothing else can be harmed
                    self._executor.submit([self._alone.popleft()])
                return
            batch = [job]
            while len(batch) < self._batch_size(job.kind):
                another = self._next(stage)
                if another is None:
                    break
                if another.kind != job.kind:  # their lengths differ: a batch is of one kind
                    self._retry.appendleft(another)
                    break
                batch.append(another)
            self._executor.submit(batch)

    def _next(self, stage: Stage) -> Job | None:
        return self._retry.popleft() if self._retry else stage.next_job()

    def _window(self, slots: int) -> int:
        size = max((self._batch_size(kind) for kind in self._seconds), default=1)
        return WINDOW_PER_SLOT * slots * size

    def _batch_size(self, kind: Kind) -> int:
        seconds = self._seconds.get(kind)
        return 1 if seconds is None else max(1, min(_MOST_IN_BATCH, int(_BATCH_SECONDS / max(seconds, 1e-4))))

    def _take(self, completed: Completed, stage: Stage) -> None:
        if completed.lost is not None:
            if completed.excused:
                self._budget.of_infrastructure(completed.lost)
            for job in completed.jobs:
                self._take_lost(job, completed.lost, completed.excused, stage)
        asked = {job.key: job for job in completed.jobs}
        told = {record.key for record in completed.records}
        if completed.lost is None:
            self._retry.extendleft(job for job in reversed(completed.jobs) if job.key not in told)
        stops = [record for record in completed.records if record.fault == "run"]
        for record in completed.records:
            if record not in stops and not (record.status == "failed" and self._retried(asked[record.key], record)):
                self._record(record, stage)
        if stops:
            raise OutputError(f"{stops[0].key} on {stops[0].host}: {stops[0].error}, and run again to resume")

    def _retried(self, job: Job, record: TaskRecord) -> bool:
        """Queue a failed task again where whose fault that was, or its number of attempts, allows it."""
        if record.fault == "worker":
            self._unfit.note(record.host, str(record.error).removeprefix("UnfitError: "))
            self._retry.append(job)
        elif record.fault == "machine" and self._budget.machine_is_to_blame(record.key):
            self._budget.of_infrastructure(f"{record.key}: {record.error}", record.host.split(":")[0])
            self._retry.append(job)
        elif record.status == "failed" and record.fault != "scratch" and record.attempt < self._attempts:
            self._retry.append(replace(job, attempt=record.attempt + 1))
        else:
            return False
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
        for consequence in stage.note(record):
            self._session.record(consequence)
        if record.status == "failed":
            self._session.display.line(f"{record.key} failed: {record.error}")

    def _take_lost(self, job: Job, why: str, excused: bool, stage: Stage) -> None:
        """A lost worker may have been the job's own fault: its last try is made with nothing else under way."""
        self._session.lost.note(job.key, why, excused)
        if excused and self._budget.machine_is_to_blame(job.key):
            self._session.display.line(f"{job.key} lost, to be run again: {why}")
            self._retry.append(job)
            return
        count = self._budget.of_tile(job.key)
        if self._budget.used_up(job.key):
            error = f"{why}, {count} times"
            record = TaskRecord(job.kind, job.index, "failed", job.attempt, finished=time.time(), error=error)
            self._record(record, stage)
            return
        self._session.display.line(f"{job.key} lost ({count} of {self._budget.per_tile}), to be tried again: {why}")
        (self._alone if self._budget.last_try(job.key) else self._retry).append(job)
