"""Keep a fixed number of SLURM jobs with workers.

dask-jobqueue's scale() never replaces a lost job, and adapt() cancels a job that SLURM requeued. Here the queue is
polled every few seconds: pending and running jobs belong to the fleet, jobs that have left the queue are replaced.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.executors.slurm import commands as slurm

TEND_SECONDS = 5.0
_MOST_AT_ONCE = 50
"""Jobs submitted at a time: sbatch takes some hundredths of a second, in which the client is blocked."""

_LONGEST_PAUSE_S = 120.0
_FIRST_LOG_S, _LONGEST_LOG_S = 15.0, 600.0
_TAIL_LINES = 15

_AVOID_S = 3600.0
"""Time for which a failing node is excluded: most recover, and in weeks every node fails once."""

_NO_SUCH_NODE = "node configuration is not available"
"""Message of sbatch when ``--exclude`` lists all nodes that the job could run on."""

_TAKEN_AWAY = {"PREEMPTED", "CANCELLED", "NODE_FAIL"}
"""States of a job that was ended by SLURM, and not by an error of its script."""


def name_of_job(worker: str) -> str:
    """Return the name of a worker's job: ``ssi3`` for ssi3, and for ssi3-0 of several in a job."""
    return worker.split("-")[0]


@dataclass
class FleetJob:
    """One job. ``running_since``: on this machine's monotonic clock; ``reported``: one of its workers connected."""

    job_id: str
    state: str = "PENDING"
    node: str = ""
    reason: str = ""
    running_since: float | None = None
    reported: bool = False


@dataclass
class Fleet:
    """Keeps ``size`` jobs in SLURM's queue.

    ``name``: SLURM name of its jobs, used by no others. ``script``: returns the script of a job for the name of its
    workers and the excluded nodes. ``log_of``: log file of a job. ``ended``: last state of former jobs, by name.
    ``avoided``: excluded nodes, with the end of the exclusion. ``log``: receives messages. To be used by the client's
    main thread only.
    """

    size: int
    name: str
    script: Callable[[str, Collection[str]], str]
    log_of: Callable[[str], Path]
    connect_timeout_s: float
    log: Callable[[str], None]
    jobs: dict[str, FleetJob] = field(default_factory=dict)
    avoided: dict[str, float] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _due: float = 0.0
    _pause: float = TEND_SECONDS
    _unreported: int = 0
    _accepted: bool = False
    _unsure: bool = False
    _restarts: dict[str, int] = field(default_factory=dict)
    _logged: float = field(default_factory=lambda: time.monotonic())  # evaluated when a fleet is created
    _silence: float = _FIRST_LOG_S

    @property
    def patience_s(self) -> float:
        """Seconds until SLURM reports an ended job: a moment after a signal, minutes after a power failure."""
        return self.connect_timeout_s

    def tend(self, connected: Collection[str], enough: bool) -> None:
        """Poll and replace jobs, every few seconds; ``connected``: names of the connected workers.

        ``enough``: the remaining tasks need no further workers.

        Raises
        ------
        ExecutorError
            sbatch rejects the first job, or consecutive jobs end before their workers report.
        """
        now = time.monotonic()
        if now < self._due:
            return
        try:
            self._look(connected, now)
            if not enough:
                self._top_up()
        except slurm.SlurmUnreachableError as error:
            self._wait(f"SLURM does not answer ({error})")
        except slurm.SlurmRefusedError as error:
            if not self._accepted:
                raise
            self._refuse_no_node_left(error, now)
            # a script that was accepted before is right: a limit of this user's jobs, or a partition that is down
            self._wait(f"SLURM accepts no jobs ({error})")
        else:
            self._pause = TEND_SECONDS
        self._due = time.monotonic() + self._pause
        self._log_waiting(connected)

    def _refuse_no_node_left(self, error: Exception, now: float) -> None:
        """Stop if only excluded nodes are left, and no job is running."""
        avoided = sorted(host for host, until in self.avoided.items() if now < until)
        if avoided and not self.jobs and _NO_SUCH_NODE in str(error):
            raise ExecutorError(
                f"SLURM has only excluded nodes left ({', '.join(avoided)}; the reasons are logged above): {error}. "
                "Request other nodes (executor.slurm) or fix these, then run again to resume"
            ) from error

    def _wait(self, why: str) -> None:
        before, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE_S)
        if self._pause > before:
            self.log(f"{why}; running jobs continue, next attempt in {self._pause:.0f} s")

    def _look(self, connected: Collection[str], now: float) -> None:
        """Update the states of the jobs; remove those that have left the queue."""
        if not self.jobs:
            return
        for worker in connected:
            job = self.jobs.get(name_of_job(worker))
            if job is not None:
                job.reported = True
                self._unreported = 0
        found = slurm.queued([job.job_id for job in self.jobs.values()])
        present = {name_of_job(worker) for worker in connected}
        for name, job in list(self.jobs.items()):
            seen = found.get(job.job_id)
            if seen is None and name in present:
                continue  # SLURM is reloading its queue; the job's workers are connected
            state = seen.state if seen else "GONE"
            if state == "RUNNING":
                self._running(name, job, seen.node if seen else "", name in present, now)
            elif state in slurm.LIVE_STATES:
                job.running_since = None
            else:
                self._ended(name, job, state)
            job.state = state
            job.reason = f" ({seen.reason})" if seen and seen.reason not in ("", "None") else ""

    def _running(self, name: str, job: FleetJob, node: str, present: bool, now: float) -> None:
        job.node = node
        if present or job.running_since is None:
            job.running_since = now  # start of the time without workers
        elif now - job.running_since > self.connect_timeout_s:
            self.log(
                f"job {job.job_id} on {job.node} is running, but its workers have not connected for "
                f"{self.connect_timeout_s:.0f} s: cancelled, will be replaced"
            )
            slurm.cancel([job.job_id])
            self._ended(name, job, "SILENT")

    def _ended(self, name: str, job: FleetJob, state: str) -> None:
        del self.jobs[name]
        self.ended[name] = state
        if job.reported:
            self._unreported = 0
        elif state not in _TAKEN_AWAY:
            self._unreported += 1
        where = f" on {job.node}" if job.node else ""
        self.log(f"job {job.job_id}{where} has ended ({state.lower()})")
        if not job.reported and self._unreported >= max(3, self.size):
            raise ExecutorError(
                f"{self._unreported} consecutive jobs ended before their workers connected; end of the log of job "
                f"{job.job_id} ({self.log_of(job.job_id)}):\n{self._log_tail(job.job_id)}\n"
                "run `ssi cluster check` to find the cause"
            )

    def _log_tail(self, job_id: str) -> str:
        try:
            lines = self.log_of(job_id).read_text(errors="replace").splitlines()
        except OSError as error:
            return f"  (no log: {error})"
        return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:]) or "  (the log is empty)"

    def _top_up(self) -> None:
        if self._unsure:
            self._cancel_strays()
        now = time.monotonic()
        avoided = [host for host, until in self.avoided.items() if now < until]
        for _ in range(min(self.size - len(self.jobs), _MOST_AT_ONCE)):
            name = f"ssi{next(self._numbers)}"
            self._unsure = True
            self.jobs[name] = FleetJob(slurm.submit(self.script(name, avoided)))
            self._unsure, self._accepted = False, True

    def _cancel_strays(self) -> None:
        """Cancel jobs with an unknown id: a submission that timed out may have succeeded."""
        known = {job.job_id for job in self.jobs.values()}
        slurm.cancel([job.job_id for job in slurm.queued_by_name(self.name) if job.job_id not in known])
        self._unsure = False

    def _log_waiting(self, connected: Collection[str]) -> None:
        """Log the states of the jobs while no worker is connected, at increasing intervals."""
        if connected:
            self._silence = _FIRST_LOG_S
        if connected or time.monotonic() - self._logged < self._silence:
            return
        self._logged, self._silence = time.monotonic(), min(2 * self._silence, _LONGEST_LOG_S)
        states = Counter(f"{job.state.lower()}{job.reason}" for job in self.jobs.values())
        self.log("no worker yet: " + (", ".join(f"{n} job(s) {s}" for s, n in states.items()) or "no job in the queue"))

    def departure(self, worker: str) -> str | None:
        """Return how the job of a lost worker ended; None if it runs, so that only the worker's process died.

        A job that was requeued may run again when it is asked for: its number of restarts tells, once per worker.

        Raises
        ------
        SlurmUnreachableError
            The state is unknown.
        """
        name = name_of_job(worker)
        job = self.jobs.get(name)
        if job is None:
            state, restarts = self.ended.get(name, "GONE"), 0
        else:
            state, restarts = slurm.state_of(job.job_id) or ("GONE", 0)
        before, self._restarts[worker] = self._restarts.get(worker, 0), restarts
        if state == "RUNNING" and restarts > before:
            return "requeued"
        return None if state in ("RUNNING", "OUT_OF_MEMORY") else state.lower()

    def avoid(self, host: str) -> bool:
        """Cancel the jobs on a node and exclude it for an hour."""
        self.avoided[host] = time.monotonic() + _AVOID_S
        with contextlib.suppress(slurm.SlurmUnreachableError):  # logged by ``tend``
            slurm.cancel([job.job_id for job in self.jobs.values() if job.node == host])
        return True

    def give_up(self, worker: str) -> None:
        """Cancel the job of a worker that cannot be restarted; it is replaced."""
        job = self.jobs.get(name_of_job(worker))
        if job is not None:
            self.log(f"cannot restart worker {worker}: cancelling its job {job.job_id} on {job.node}")
            with contextlib.suppress(slurm.SlurmUnreachableError):
                slurm.cancel([job.job_id])

    def close(self) -> None:
        """Cancel all jobs."""
        slurm.cancel([job.job_id for job in self.jobs.values()])
        if self._unsure:
            self._cancel_strays()
        self.jobs.clear()
