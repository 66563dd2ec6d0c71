"""Number of workers of a run, and the memory of each, on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from ssi_pipeline.config import ExecutorConfig
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.executors.gpus.sharing import own_cards

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def worker_count(section: ExecutorConfig) -> int:
    """Return the number of workers: as configured, else ``workers_per_gpu`` for each GPU of the run, else one for each
    ``threads`` cores.
    """
    if section.kind == "slurm":
        assert section.workers is not None
        return section.workers
    cores = len(os.sched_getaffinity(0))
    if section.address is None and section.threads > cores:
        raise ConfigError(f"executor.threads is {section.threads}, but this process may use {cores} cores: lower it")
    if section.kind == "serial":
        return 1
    if section.workers is not None:
        return section.workers
    return len(own_cards(section).names) * section.workers_per_gpu or max(1, cores // section.threads)


def worker_memory(section: ExecutorConfig) -> int:
    """Return the memory of one worker in bytes: as configured, else an equal share of 90 %."""
    if section.memory_gib is not None:
        return int(section.memory_gib * 2**30)
    return int(0.9 * _total_memory()) // worker_count(section)


def _total_memory() -> int:
    total = int(psutil.virtual_memory().total)
    for path in _CGROUP_LIMITS:
        try:
            total = min(total, int(path.read_text()))
        except (OSError, ValueError):
            continue
    return total
