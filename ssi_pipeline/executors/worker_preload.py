"""Run by dask in each worker of a SLURM job before it takes work: one GPU each, and a timely leave."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import MutableMapping
from typing import Any

from distributed.core import Status

_DRAIN_SHARE = 0.9
"""After this share of its life a worker takes no new task, and leaves when it has finished what it has."""

_POLL_S = 0.2
_SEND_S = 1.0
"""Time for the last result to reach the scheduler."""


async def dask_setup(worker: Any) -> None:
    """Called by ``dask worker --preload`` when the worker's name is known, and torch is not imported yet."""
    choose_gpu(str(worker.name), os.environ)
    importlib.import_module("ssi_pipeline.executors.warm")  # torch with it, which has to see the one GPU only
    if worker.lifetime:
        worker._ssi_drain = asyncio.create_task(_drain(worker, _DRAIN_SHARE * worker.lifetime))  # kept from collection


def choose_gpu(name: str, environment: MutableMapping[str, str]) -> None:
    """Leave a worker that shares its job with others the GPU of its number.

    Parameters
    ----------
    name
        ``ssi3`` where the job has one worker, ``ssi3-0``, ``ssi3-1``, ... where it has several.
    environment
        SLURM's CUDA_VISIBLE_DEVICES names the GPUs of the whole job; reduced to one of them.
    """
    visible = [device for device in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if device]
    _, dash, number = name.rpartition("-")
    if dash and number.isdigit() and visible:
        environment["CUDA_VISIBLE_DEVICES"] = visible[int(number) % len(visible)]


async def _drain(worker: Any, seconds: float) -> None:
    """Leave between two tasks; dask's own lifetime, which cuts them, is for those that take too long."""
    await asyncio.sleep(seconds)
    worker.status = Status.paused
    while worker.state.executing_count:
        await asyncio.sleep(_POLL_S)
    await asyncio.sleep(_SEND_S)
    await worker.close_gracefully(restart=False, reason="walltime-is-near")
