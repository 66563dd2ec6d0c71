"""How dask is set up on clusters of ours, and who may connect to them."""

from __future__ import annotations

from typing import Any

_KEPT_BYTES = 2**29
_MAPPED_BYTES = 2**25  # the most that glibc takes; larger arrays are mapped and unmapped each time


def scheduler_settings(dashboard: str | None) -> dict[str, Any]:
    """Return dask's configuration of a scheduler; without a dashboard it serves no pages at all."""
    return {
        # the run counts the losses; the scheduler would count them once more, and innocent tasks with them
        "distributed.scheduler.allowed-failures": 0,
        # a worker gets no task (but the first few) before it is free: a waiting one is not lost with it
        "distributed.scheduler.worker-saturation": 1.0,
        # a worker whose event loop stands still for so long is restarted; a task holds up its own thread only
        "distributed.scheduler.worker-ttl": "2 minutes",
        **({} if dashboard else {"distributed.scheduler.http.routes": []}),
    }


def worker_settings(threads: int) -> dict[str, Any]:
    """Return dask's configuration of a worker whose libraries may use so many threads."""
    environment = "distributed.nanny.pre-spawn-environ"
    return {
        f"{environment}.OMP_NUM_THREADS": threads,
        f"{environment}.MKL_NUM_THREADS": threads,
        # dask has malloc give memory back at once, and each training step would fault all of it in again
        f"{environment}.MALLOC_TRIM_THRESHOLD_": _KEPT_BYTES,
        f"{environment}.MALLOC_MMAP_THRESHOLD_": _MAPPED_BYTES,
        # a tile's memory is arrays of torch and numpy, which dask cannot spill: only the last limit is of use
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.daemon": True,
        "distributed.worker.http.routes": [],
    }


def dashboard_address(dashboard: str | None) -> str:
    """Return where the scheduler's web server listens: on loopback, unless asked otherwise."""
    return dashboard or "127.0.0.1:0"  # None would take port 8787, and complain where it is taken
