"""Print the job script that a run will submit."""

from __future__ import annotations

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.executors.slurm.job import job_options, job_script, require_jobqueue


def script_text(config: RunConfig) -> str:
    """Return the script of one job, with placeholders for the address of the scheduler.

    Raises
    ------
    ConfigError
        ``executor.kind`` is not slurm.
    ExecutorError
        dask-jobqueue is not installed.
    """
    require_slurm(config)
    require_jobqueue()
    options = job_options(config.executor, "ssi-RUN", config.state_path)
    return job_script(options, "ssi0", "tls://SCHEDULER:PORT", None)


def require_slurm(config: RunConfig) -> None:
    """Raise ConfigError where ``executor.kind`` is not slurm."""
    if config.executor.kind != "slurm":
        raise ConfigError(
            f"executor.kind is {config.executor.kind}: expected slurm, with a site's profile (docs/cluster.md)"
        )
