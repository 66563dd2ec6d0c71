"""A fixed number of SLURM jobs with workers, kept topped up by the client.

dask-jobqueue's own scale() never replaces a lost job, and adapt() cancels a job that SLURM put back into the queue.
Here the queue itself is asked every few seconds: what is in it, waiting or running, belongs to the fleet; what
has left it is replaced.
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
"""Jobs submitted at a time: sbatch takes some hundredths of a second, and the client has other things to do."""

_LONGEST_PAUSE_S = 120.0
_SAY_WAITING_S, _SAY_RARELY_S = 15.0, 600.0
_TAIL_LINES = 15

_AVOID_S = 3600.0
"""How long a node is kept clear of: most are mended, and in weeks each one has a bad hour."""

_NO_SUCH_NODE = "node configuration is not available"
"""What sbatch says where ``--exclude`` names all nodes that the job could run on."""

_TAKEN_AWAY = {"PREEMPTED", "CANCELLED", "NODE_FAIL"}
"""States of a job that ended by no fault of its script."""


def name_of_job(worker: str) -> str:
    """Return the name of the job that a worker belongs to: ``ssi3`` for ssi3, and for ssi3-0 of several in a job."""
    return worker.split("-")[0]


@dataclass
class FleetJob:
    """One job of the fleet. ``running_since``: on this machine's monotonic clock; ``reported``: a worker of it did."""

    job_id: str
    state: str = "PENDING"
    node: str = ""
    reason: str = ""
    running_since: float | None = None
    reported: bool = False


@dataclass
class Fleet:
    """Keeps ``size`` jobs in SLURM's queue.

    ``name``: of all its jobs, and of no others. ``script``: makes the text for sbatch from the name of the job's
    workers and the nodes to keep clear of.
    ``log_of``: the file that a job writes to. ``ended``: last state of former jobs by name.
    ``avoided``: nodes, and until when. ``say``: told what happens. Only the client's main thread may use a fleet.
    """

    size: int
    name: str
    script: Callable[[str, Collection[str]], str]
    log_of: Callable[[str], Path]
    connect_timeout_s: float
    say: Callable[[str], None]
    jobs: dict[str, FleetJob] = field(default_factory=dict)
    avoided: dict[str, float] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _due: float = 0.0
    _pause: float = TEND_SECONDS
    _unreported: int = 0
    _accepted: bool = False
    _unsure: bool = False
    _said: float = field(default_factory=lambda: time.monotonic())  # looked up when a fleet is made
    _silence: float = _SAY_WAITING_S

    @property
    def patience_s(self) -> float:
        """A job that was told to end counts as running for a moment, one whose node has no power for minutes."""
        return self.connect_timeout_s

    def tend(self, connected: Collection[str], enough: bool) -> None:
        """Look after the jobs, every few seconds; ``connected``: names of the workers that the scheduler has.

        ``enough``: what is left to do needs no further workers.

        Raises
        ------
        ExecutorError
            sbatch refuses the first job, or jobs end one after the other before their workers report.
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
            # what it took before is not wrong: a limit of this user's jobs, a partition that is down
            self._wait(f"SLURM takes no job now ({error})")
        else:
            self._pause = TEND_SECONDS
        self._due = time.monotonic() + self._pause
        self._say_waiting(connected)

    def _refuse_no_node_left(self, error: Exception, now: float) -> None:
        """Stop where SLURM has no other node than those that are kept clear of, and nothing runs."""
        avoided = sorted(host for host, until in self.avoided.items() if now < until)
        if avoided and not self.jobs and _NO_SUCH_NODE in str(error):
            raise ExecutorError(
                f"SLURM has no node left but those that get no more work ({', '.join(avoided)}; why is said above): "
                f"{error}. Ask for others (executor.slurm), or mend these; then run again to resume"
            ) from error

    def _wait(self, why: str) -> None:
        before, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE_S)
        if self._pause > before:
            self.say(f"{why}; what runs goes on, asked again in {self._pause:.0f} s")

    def _look(self, connected: Collection[str], now: float) -> None:
        """Learn the jobs' states; forget those that have left the queue."""
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
                continue  # a queue that is just being read in again; its workers know better
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
            job.running_since = now  # of the time without workers
        elif now - job.running_since > self.connect_timeout_s:
            self.say(
                f"job {job.job_id} on {job.node} runs, but its workers have not been heard of for "
                f"{self.connect_timeout_s:.0f} s: cancelled, to be replaced"
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
        self.say(f"job {job.job_id}{where} has ended ({state.lower()})")
        if not job.reported and self._unreported >= max(3, self.size):
            raise ExecutorError(
                f"{self._unreported} jobs in a row ended before their workers reported; the last words of job "
                f"{job.job_id} ({self.log_of(job.job_id)}):\n{self._last_words(job.job_id)}\n"
                "`ssi cluster check` looks for the cause"
            )

    def _last_words(self, job_id: str) -> str:
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
        """Cancel jobs whose number was never told: a request without an answer may have been heard all the same."""
        known = {job.job_id for job in self.jobs.values()}
        slurm.cancel([job.job_id for job in slurm.queued_by_name(self.name) if job.job_id not in known])
        self._unsure = False

    def _say_waiting(self, connected: Collection[str]) -> None:
        """Tell why nothing happens where no worker is there: soon at first, then more and more rarely."""
        if connected:
            self._silence = _SAY_WAITING_S
        if connected or time.monotonic() - self._said < self._silence:
            return
        self._said, self._silence = time.monotonic(), min(2 * self._silence, _SAY_RARELY_S)
        states = Counter(f"{job.state.lower()}{job.reason}" for job in self.jobs.values())
        self.say("no worker yet: " + (", ".join(f"{n} job(s) {s}" for s, n in states.items()) or "no job in the queue"))

    def departure(self, worker: str) -> str | None:
        """Tell how the job of a lost worker ended; None where that was no doing of SLURM: its process died.

        Raises
        ------
        SlurmUnreachableError
            Nobody knows now.
        """
        name = name_of_job(worker)
        job = self.jobs.get(name)
        state = self.ended.get(name, "GONE") if job is None else slurm.state_of(job.job_id) or "GONE"
        return None if state in ("RUNNING", "OUT_OF_MEMORY") else state.lower()

    def avoid(self, host: str) -> bool:
        """Cancel the jobs on a node and ask for it no more, for an hour."""
        self.avoided[host] = time.monotonic() + _AVOID_S
        with contextlib.suppress(slurm.SlurmUnreachableError):  # said when the fleet is tended
            slurm.cancel([job.job_id for job in self.jobs.values() if job.node == host])
        return True

    def give_up(self, worker: str) -> None:
        """Cancel the job of a worker that cannot be restarted; it is replaced like any other that ends."""
        job = self.jobs.get(name_of_job(worker))
        if job is not None:
            self.say(f"worker {worker} cannot be restarted: its job {job.job_id} on {job.node} is cancelled")
            with contextlib.suppress(slurm.SlurmUnreachableError):
                slurm.cancel([job.job_id])

    def close(self) -> None:
        """Cancel all jobs."""
        slurm.cancel([job.job_id for job in self.jobs.values()])
        if self._unsure:
            self._cancel_strays()
        self.jobs.clear()
