"""Job scripts of workers, written by dask-jobqueue: resources, environment and command."""

from __future__ import annotations

import math
import re
import shlex
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssi_pipeline.config import ExecutorConfig, digest
from ssi_pipeline.errors import MissingPackageError, how_to_install
from ssi_pipeline.executors.gpus.visible import hidden_cards

if TYPE_CHECKING:
    from distributed import Security

_PRELOAD = "ssi_pipeline.executors.slurm.worker_preload"

_MARGIN_SHARE, _LEAST_MARGIN_S, _MOST_MARGIN_S = 0.1, 16, 300
"""Margin before the walltime at which workers leave, as a share and with bounds in seconds, staggered at random."""


def require_jobqueue() -> None:
    """Raise MissingPackageError where dask-jobqueue is not installed."""
    try:
        import dask_jobqueue  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f"executor.kind is slurm, which needs dask-jobqueue: {how_to_install('dask-jobqueue', 'cluster')}"
        ) from error


def job_name(state: Path) -> str:
    """Return the SLURM name of a run's jobs: equal at each start with the same state folder."""
    return f"ssi-{digest({'state': str(state.resolve())})[:10]}"


def lifetime(walltime_s: int) -> tuple[int, int]:
    """Return the lifetime of a worker in seconds, and the range of its random shift."""
    margin = int(min(max(_MARGIN_SHARE * walltime_s, _LEAST_MARGIN_S), _MOST_MARGIN_S))
    return walltime_s - margin, margin // 2


def log_pattern(state: Path) -> Path:
    """Return the log file of a job; SLURM replaces ``%j`` by the job id."""
    return state / "logs" / "slurm-%j.out"


def job_options(section: ExecutorConfig, name: str, state: Path) -> dict[str, Any]:
    """Return the options of dask-jobqueue's SLURMJob, without the scheduler's address and certificates."""
    site = section.slurm
    assert section.memory_gib is not None
    seconds, stagger = lifetime(site.walltime_s)
    return {
        "job_name": name,
        "python": shlex.quote(sys.executable),
        # one worker process with one task thread each; numerical libraries may use more threads
        "cores": site.workers_per_job,
        "processes": site.workers_per_job,
        "memory": f"{int(section.memory_gib * site.workers_per_job * 2**30)} B",
        "job_cpu": site.workers_per_job * (site.cpus or section.threads),
        "queue": site.partition,
        "account": site.account,
        "walltime": site.walltime,
        "local_directory": quoted_with_variables(site.scratch) if site.scratch else None,
        "interface": shlex.quote(site.interface) if site.interface else None,
        "protocol": "tls://",
        # what its processes have to start and to connect: dask-jobqueue's 60 s are few on a cold file system
        "death_timeout": math.ceil(site.connect_timeout_s),
        "job_extra_directives": _directives(section, state),
        "job_script_prologue": [
            f"export DASK_CONFIG={shlex.quote(str(state / 'dask'))}",
            *site.prologue,
            *([f"export {name}={value}" for name, value in hidden_cards().items()] if section.device == "cpu" else []),
        ],
        "worker_extra_args": [
            "--no-dashboard",
            *("--dashboard-address", "127.0.0.1:0"),
            *("--preload", _PRELOAD),
            *("--lifetime", f"{seconds}s", "--lifetime-stagger", f"{stagger}s"),
        ],
    }


def quoted_with_variables(text: str) -> str:
    """Quote a text for the shell: variables such as $TMPDIR are expanded, nothing is executed."""
    return '"' + re.sub(r'["`\\]|\$(?!\w|\{\w+\})', lambda match: f"\\{match[0]}", text) + '"'


def _directives(section: ExecutorConfig, state: Path) -> list[str]:
    site = section.slurm
    asked = {
        "gres": site.gres,
        "output": f'"{log_pattern(state)}"',
    }
    return [f"--{key}={value}" for key, value in asked.items() if value is not None] + list(site.directives)


def job_script(
    options: dict[str, Any], worker: str, scheduler: str, security: Security | None, avoided: Collection[str] = ()
) -> str:
    """Return the script of one job, whose workers are named ``worker`` (with -0, -1, ... if there are several)."""
    from dask_jobqueue.slurm import SLURMJob

    directives = options["job_extra_directives"] + ([f"--exclude={','.join(sorted(avoided))}"] if avoided else [])
    job: Any = SLURMJob
    made = job(scheduler, name=worker, security=security, **{**options, "job_extra_directives": directives})
    return str(made.job_script())


def nodes_script(options: dict[str, Any], nodes: int, command: str) -> str:
    """Return the script of a job on 1 to ``nodes`` free nodes that runs a command on the first."""
    from dask_jobqueue.slurm import SLURMJob

    job: Any = SLURMJob
    # a number of tasks, in total or per node, would limit the job to one node (SLURM 22.05)
    wide = [f"--nodes=1-{nodes}", "--no-requeue"]
    directives = [*options["job_extra_directives"], *wide]
    changed = {**options, "job_extra_directives": directives, "job_directives_skip": ["#SBATCH -n "]}
    made = job("tls://SCHEDULER:PORT", name="nodes", **changed)
    return f"#!/usr/bin/env bash\n{made.job_header}\n{command}\n"
