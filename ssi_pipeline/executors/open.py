"""Open the executor of a configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ssi_pipeline.config import ExecutorConfig
from ssi_pipeline.executors.base import Executor
from ssi_pipeline.executors.machine import worker_count, worker_memory
from ssi_pipeline.tasks import RunSpec


def open_executor(
    section: ExecutorConfig, spec: RunSpec, log: Callable[[str], None] = print, client: Any = None
) -> Executor:
    """Start the configured workers, or connect to them; ``log`` receives messages about them.

    ``client``: a dask client of the caller, whose workers are used; it stays open.
    """
    if client is not None:
        from ssi_pipeline.executors.local import use_client

        return use_client(spec, section, client, log)
    if section.kind == "slurm":
        from ssi_pipeline.executors.slurm.cluster import open_slurm

        return open_slurm(spec, section, log)
    if section.kind == "serial":
        from ssi_pipeline.executors.serial import SerialExecutor

        return SerialExecutor(spec)
    from ssi_pipeline.executors.local import open_local, open_remote

    if section.address is not None:
        return open_remote(spec, section, log)
    return open_local(spec, section, worker_count(section), worker_memory(section), log)
