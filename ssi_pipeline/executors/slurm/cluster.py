"""Start a dask cluster on SLURM: the scheduler runs in the client, dask-jobqueue writes the job scripts."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import dask
import yaml

from ssi_pipeline.config import ExecutorConfig
from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.executors.connect import connect
from ssi_pipeline.executors.dask import DaskExecutor
from ssi_pipeline.executors.dask_settings import dashboard_address, scheduler_settings, worker_settings
from ssi_pipeline.executors.signals import signals_for_the_client_alone
from ssi_pipeline.executors.slurm import commands as slurm
from ssi_pipeline.executors.slurm.certificates import Certificate
from ssi_pipeline.executors.slurm.fleet import Fleet
from ssi_pipeline.executors.slurm.job import job_name, job_options, job_script, log_pattern, require_jobqueue
from ssi_pipeline.executors.watch import TimeLimit
from ssi_pipeline.tasks import RunSpec


def open_slurm(spec: RunSpec, section: ExecutorConfig, log: Callable[[str], None]) -> DaskExecutor:
    """Start a scheduler here and submit the first jobs; workers connect as the jobs start.

    Raises
    ------
    ExecutorError
        SLURM or dask-jobqueue is missing, or sbatch refuses the job.
    """
    require_jobqueue()
    state = Path(spec.state)
    name = job_name(state)
    log_pattern(state).parent.mkdir(exist_ok=True)
    (state / "dask").mkdir(exist_ok=True)
    (state / "dask" / "worker.yaml").write_text(yaml.safe_dump(_nested(worker_settings(section.threads))))
    _cancel_leftover(name, log)
    certificate = Certificate.make(state / "tls")
    options = job_options(section, name, state)
    cluster = _start_scheduler(section, options, certificate)
    security = certificate.security(quoted=True)

    def script(worker: str, avoided: Collection[str]) -> str:
        """Return the script of a job whose workers are named ``worker``, excluding the hosts ``avoided``."""
        return job_script(options, worker, cluster.scheduler_address, security, avoided)

    assert section.workers is not None
    fleet = Fleet(
        size=math.ceil(section.workers / section.slurm.workers_per_job),
        name=name,
        script=script,
        log_of=lambda job_id: Path(str(log_pattern(state)).replace("%j", job_id)),
        connect_timeout_s=section.slurm.connect_timeout_s,
        log=log,
    )
    try:
        fleet.tend([], enough=False)
        client = connect(cluster, "60s")
    except BaseException:
        fleet.close()
        cluster.close(timeout=10)
        certificate.remove()
        raise
    limit = TimeLimit(section.tile_limit_s)
    return DaskExecutor(spec, client, cluster, fleet=fleet, limit=limit, closing=certificate.remove, log=log)


def _start_scheduler(section: ExecutorConfig, options: dict[str, Any], certificate: Certificate) -> Any:
    from dask_jobqueue.slurm import SLURMCluster

    with dask.config.set(scheduler_settings(section.dashboard)), signals_for_the_client_alone():
        try:
            return SLURMCluster(
                **options,
                security=certificate.security(),
                scheduler_options={"dashboard_address": dashboard_address(section.dashboard)},
                silence_logs=logging.CRITICAL,
            )
        except (OSError, RuntimeError, ValueError, TimeoutError) as error:
            certificate.remove()
            raise ExecutorError(f"cannot start the dask scheduler: {error}") from error


def _cancel_leftover(name: str, log: Callable[[str], None]) -> None:
    """Cancel the jobs of an earlier client of this run that was killed."""
    left = [job.job_id for job in slurm.queued_by_name(name)]
    if left:
        slurm.cancel(left)
        log(f"cancelled {len(left)} jobs of an earlier call of this run: {' '.join(left)}")


def _nested(settings: dict[str, Any]) -> dict[str, Any]:
    """Return dotted keys as a nested mapping, as in dask's configuration files."""
    tree: dict[str, Any] = {}
    for name, value in settings.items():
        *folders, last = name.split(".")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return tree
