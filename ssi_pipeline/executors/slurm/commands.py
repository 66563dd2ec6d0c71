"""The few commands of SLURM that are needed, each with a time limit, and what may go wrong with them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.exit_status import ExitStatus

_TIMEOUT_S = 60.0

_PASSING = (
    r"(?i)unable to contact|connection|timed out|communication|socket|temporarily|zero bytes|munge|authentic|credential"
    r"|standby|try again"
)
"""What sbatch says when it has not got through to SLURM."""

_SHORT = {"-J": "JOB_NAME", "-p": "PARTITION", "-A": "ACCOUNT", "-t": "TIMELIMIT", "--mem": "MEM_PER_NODE"}
"""Names that sbatch's variables have for options called otherwise."""

LIVE_STATES = {
    *("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "COMPLETING", "REQUEUED", "REQUEUE_HOLD"),
    *("REQUEUE_FED", "RESV_DEL_HOLD", "RESIZING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT"),
}
"""States of a job that is there, or will be again (squeue's long names)."""


class SlurmUnreachableError(ExecutorError):
    """SLURM does not answer now; it may do so later."""


class SlurmRefusedError(ExecutorError):
    """SLURM does not take a job: the script is wrong, or a limit is reached, or a partition is down."""

    exit_status = ExitStatus.REFUSED


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """What squeue says of a job. ``reason``: why it waits."""

    job_id: str
    state: str
    node: str
    reason: str


def submit(script: str) -> str:
    """Hand a job script to sbatch; returns the job's number.

    Raises
    ------
    SlurmUnreachableError
        The controller does not answer.
    SlurmRefusedError
        sbatch refuses the script, for instance an unknown partition.
    """
    output = _run(["sbatch", "--parsable"], script, environment=_environment(script))
    # the last line: sites put words of their own before it
    found = re.search(r"^(\d+)(;\S*)?\s*\Z", output, re.MULTILINE)
    if found is None:
        raise ExecutorError(f"sbatch answered {output.strip()!r}: expected the number of a job")
    return found.group(1)


def queued(job_ids: Sequence[str]) -> dict[str, QueuedJob]:
    """Return those of the jobs that SLURM still has, by number; finished ones are shown for some minutes."""
    return {job.job_id: job for job in _squeue([]) if job.job_id in set(job_ids)}


def queued_by_name(name: str) -> list[QueuedJob]:
    """Return this user's jobs of a name that wait or run."""
    return [job for job in _squeue([f"--name={name}"]) if job.state in LIVE_STATES]


def cancel(job_ids: Sequence[str]) -> None:
    """Cancel jobs; those that ended before are passed over."""
    if job_ids:
        _run(["scancel", *job_ids], failing=r"(?i)invalid job id|already completed")


def state_of(job_id: str) -> str | None:
    """Return the state of one job, RUNNING for instance; None where SLURM has forgotten it."""
    output = _run(["scontrol", "show", "job", "-o", job_id], failing=r"(?i)invalid job id")
    found = re.search(r"\bJobState=(\w+)", output)
    return found.group(1) if found else None


def partitions() -> dict[str, str]:
    """Return the partitions that this user sees, with their generic resources (GPUs)."""
    lines = (line.split("|") for line in _run(["sinfo", "-h", "-o", "%R|%G"]).splitlines())
    found: dict[str, str] = {}
    for name, resources in lines:
        found[name] = ", ".join(filter(None, (found.get(name), "" if resources == "(null)" else resources)))
    return found


def host_names(nodes: str) -> list[str]:
    """Return the nodes of a list as SLURM writes it, ``n[1-3]`` for instance."""
    return _run(["scontrol", "show", "hostnames", nodes]).split()


def _squeue(options: Sequence[str]) -> list[QueuedJob]:
    # all states: a job that has ended is then known to have ended, and not only missing
    output = _run(["squeue", "-h", "-u", str(os.getuid()), "-t", "all", "-o", "%i|%T|%N|%r", *options])
    fields = (line.split("|", 3) for line in output.splitlines())
    return [QueuedJob(*(part.strip() for part in line)) for line in fields if len(line) == 4]


def _run(
    command: list[str], stdin: str = "", failing: str | None = None, environment: dict[str, str] | None = None
) -> str:
    """Run a command; ``failing``: what it may say where it fails because there is nothing to do."""
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the client, which ends in order
        )
    except FileNotFoundError as error:
        raise ExecutorError(
            f"{command[0]} not found: executor.kind is slurm, which needs SLURM's commands on this machine; "
            "run on a login node of the cluster, or set executor.kind: dask"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SlurmUnreachableError(f"{command[0]} gave no answer for {_TIMEOUT_S:.0f} s") from error
    if done.returncode == 0 or (failing and re.search(failing, done.stderr)):
        return done.stdout
    said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
    # whatever goes wrong with a question (controller, authentication, network) may be well the next time
    if command[0] != "sbatch" or re.search(_PASSING, said):
        raise SlurmUnreachableError(f"{command[0]}: {said}")
    raise SlurmRefusedError(f"{command[0]} refused: {said}")


def _environment(script: str) -> dict[str, str]:
    """Return ours without sbatch's variables for what the script says itself: they would count more than it."""
    options = re.findall(r"^#SBATCH (-\w|--[\w-]+)", script, re.MULTILINE)
    said = {_SHORT.get(option, option.strip("-").upper().replace("-", "_")) for option in options}
    return {name: value for name, value in os.environ.items() if not (name.startswith("SBATCH_") and name[7:] in said)}
