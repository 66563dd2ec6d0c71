"""From the configuration to an executor."""

from __future__ import annotations

from collections.abc import Callable

from ssi_pipeline.config import ExecutorConfig
from ssi_pipeline.executors.base import Executor
from ssi_pipeline.executors.machine import worker_count, worker_memory
from ssi_pipeline.tasks import RunSpec


def open_executor(section: ExecutorConfig, spec: RunSpec, say: Callable[[str], None] = print) -> Executor:
    """Start, or connect to, the workers that the configuration names; ``say`` is told what happens to them."""
    if section.kind == "slurm":
        from ssi_pipeline.executors.slurm.cluster import open_slurm

        return open_slurm(spec, section, say)
    if section.kind == "serial":
        from ssi_pipeline.executors.serial import SerialExecutor

        return SerialExecutor(spec)
    from ssi_pipeline.executors.local import open_local, open_remote

    if section.address is not None:
        return open_remote(spec, section, say)
    return open_local(spec, section, worker_count(section), worker_memory(section), say)
