"""Call SLURM's commands with a timeout, and classify their errors."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.exit_status import ExitStatus

_TIMEOUT_S = 60.0

_TEMPORARY = (
    r"(?i)unable to contact|connection|timed out|communication|socket|temporarily|zero bytes|munge|authentic|credential"
    r"|standby|try again"
)
"""Messages of sbatch when it cannot reach SLURM."""

_SHORT = {"-J": "JOB_NAME", "-p": "PARTITION", "-A": "ACCOUNT", "-t": "TIMELIMIT", "--mem": "MEM_PER_NODE"}
"""Options of sbatch whose environment variable has another name."""

LIVE_STATES = {
    *("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "COMPLETING", "REQUEUED", "REQUEUE_HOLD"),
    *("REQUEUE_FED", "RESV_DEL_HOLD", "RESIZING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT"),
}
"""States of a job that has not ended (squeue's long names)."""


class SlurmUnreachableError(ExecutorError):
    """SLURM does not answer; a retry may succeed."""


class SlurmRefusedError(ExecutorError):
    """SLURM rejected a job: the script is wrong, a limit is reached, or a partition is down."""

    exit_status = ExitStatus.REFUSED


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job as listed by squeue. ``reason``: why it is pending."""

    job_id: str
    state: str
    node: str
    reason: str


def submit(script: str) -> str:
    """Submit a job script with sbatch; returns the job id.

    Raises
    ------
    SlurmUnreachableError
        The controller does not answer.
    SlurmRefusedError
        sbatch rejects the script, for instance an unknown partition.
    """
    output = _run(["sbatch", "--parsable"], script, environment=_environment(script))
    # the last line: sites may print messages before it
    found = re.search(r"^(\d+)(;\S*)?\s*\Z", output, re.MULTILINE)
    if found is None:
        raise ExecutorError(f"sbatch answered {output.strip()!r}: expected a job id")
    return found.group(1)


def queued(job_ids: Sequence[str]) -> dict[str, QueuedJob]:
    """Return the jobs that squeue lists, by id; finished ones are listed for some minutes."""
    return {job.job_id: job for job in _squeue([]) if job.job_id in set(job_ids)}


def queued_by_name(name: str) -> list[QueuedJob]:
    """Return this user's pending and running jobs with a name."""
    return [job for job in _squeue([f"--name={name}"]) if job.state in LIVE_STATES]


def cancel(job_ids: Sequence[str]) -> None:
    """Cancel jobs; ended ones are ignored."""
    if job_ids:
        _run(["scancel", *job_ids], failing=r"(?i)invalid job id|already completed")


def state_of(job_id: str) -> tuple[str, int] | None:
    """Return a job's state, for instance RUNNING, and how often it was requeued; None if SLURM no longer knows it."""
    output = _run(["scontrol", "show", "job", "-o", job_id], failing=r"(?i)invalid job id")
    found, requeued = (re.search(rf"\b{name}=(\w+)", output) for name in ("JobState", "Restarts"))
    return (found.group(1), int(requeued.group(1)) if requeued else 0) if found else None


def partitions() -> dict[str, str]:
    """Return the partitions visible to this user, with their generic resources (GPUs)."""
    lines = (line.split("|") for line in _run(["sinfo", "-h", "-o", "%R|%G"]).splitlines())
    found: dict[str, str] = {}
    for name, resources in lines:
        found[name] = ", ".join(filter(None, (found.get(name), "" if resources == "(null)" else resources)))
    return found


def host_names(nodes: str) -> list[str]:
    """Return the nodes of a SLURM node list, for instance ``n[1-3]``."""
    return _run(["scontrol", "show", "hostnames", nodes]).split()


def _squeue(options: Sequence[str]) -> list[QueuedJob]:
    # all states: an ended job is then listed as ended, and not just missing
    output = _run(["squeue", "-h", "-u", str(os.getuid()), "-t", "all", "-o", "%i|%T|%N|%r", *options])
    fields = (line.split("|", 3) for line in output.splitlines())
    return [QueuedJob(*(part.strip() for part in line)) for line in fields if len(line) == 4]


def _run(
    command: list[str], stdin: str = "", failing: str | None = None, environment: dict[str, str] | None = None
) -> str:
    """Run a command; ``failing``: pattern of error messages that are ignored."""
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            env=environment,
            start_new_session=True,  # Ctrl-C is handled by the client
        )
    except FileNotFoundError as error:
        raise ExecutorError(
            f"{command[0]} not found: executor.kind: slurm needs SLURM's commands on this machine; run on a login node "
            "of the cluster, or set executor.kind: dask"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SlurmUnreachableError(f"{command[0]} did not answer within {_TIMEOUT_S:.0f} s") from error
    if done.returncode == 0 or (failing and re.search(failing, done.stderr)):
        return done.stdout
    message = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
    # an error of a query (controller, authentication, network) may be temporary
    if command[0] != "sbatch" or re.search(_TEMPORARY, message):
        raise SlurmUnreachableError(f"{command[0]}: {message}")
    raise SlurmRefusedError(f"{command[0]} refused: {message}")


def _environment(script: str) -> dict[str, str]:
    """Return the environment without sbatch variables for options of the script, which they would override."""
    options = re.findall(r"^#SBATCH (-\w|--[\w-]+)", script, re.MULTILINE)
    given = {_SHORT.get(option, option.strip("-").upper().replace("-", "_")) for option in options}
    return {name: value for name, value in os.environ.items() if not (name.startswith("SBATCH_") and name[7:] in given)}
