"""Dask configuration of the clusters started here."""

from __future__ import annotations

from typing import Any

_KEPT_BYTES = 2**29
_MAPPED_BYTES = 2**25  # glibc's maximum; larger arrays are mapped and unmapped each time


def scheduler_settings(dashboard: str | None) -> dict[str, Any]:
    """Return dask's configuration of a scheduler; without a dashboard its web server serves no pages."""
    return {
        # the run counts lost workers; the scheduler would also count them against other tasks
        "distributed.scheduler.allowed-failures": 0,
        # a worker gets no task (but the first few) before it is free, so no queued task is lost with it
        "distributed.scheduler.worker-saturation": 1.0,
        # a worker whose event loop is blocked for this time is restarted; a task blocks only its own thread
        "distributed.scheduler.worker-ttl": "2 minutes",
        **({} if dashboard else {"distributed.scheduler.http.routes": []}),
    }


def worker_settings(threads: int) -> dict[str, Any]:
    """Return dask's configuration of a worker; ``threads``: for the numerical libraries."""
    environment = "distributed.nanny.pre-spawn-environ"
    return {
        f"{environment}.OMP_NUM_THREADS": threads,
        f"{environment}.MKL_NUM_THREADS": threads,
        # dask makes malloc return memory at once, and each training step would page all of it in again
        f"{environment}.MALLOC_TRIM_THRESHOLD_": _KEPT_BYTES,
        f"{environment}.MALLOC_MMAP_THRESHOLD_": _MAPPED_BYTES,
        # dask cannot spill the arrays of a tile: only the last limit is useful
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.daemon": True,
        "distributed.worker.http.routes": [],
    }


def dashboard_address(dashboard: str | None) -> str:
    """Return the address of the scheduler's web server: on loopback by default."""
    return dashboard or "127.0.0.1:0"  # None would use port 8787, and warn if it is in use
