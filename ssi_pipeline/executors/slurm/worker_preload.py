"""Preload script of the dask workers in SLURM jobs: selects the GPU, and ends the worker before the walltime."""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from collections.abc import MutableMapping
from typing import Any

from distributed.core import Status

from ssi_pipeline.executors.gpus.visible import visible_cards

_LEAST_LEFT_S, _TIMES_LONGEST = 3.0, 1.2
"""A worker starts no task if less than this is left of its lifetime, and leaves after its current one."""

_POLL_S = 0.2
_SEND_S = 1.0
"""Time for the last result to reach the scheduler."""


async def dask_setup(worker: Any) -> None:
    """Called by ``dask worker --preload``, with the worker's name known and torch not imported yet."""
    choose_gpu(str(worker.name), os.environ)
    importlib.import_module("ssi_pipeline.executors.warm")  # imports torch, which must see this one GPU only
    if worker.lifetime:
        worker._ssi_drain = asyncio.create_task(_drain(worker))  # keeps a reference


def choose_gpu(name: str, environment: MutableMapping[str, str]) -> None:
    """Select the GPU of a worker by its number, if its job has several workers.

    Parameters
    ----------
    name
        ``ssi3`` where the job has one worker, ``ssi3-0``, ``ssi3-1``, ... where it has several.
    environment
        SLURM's CUDA_VISIBLE_DEVICES lists the GPUs of the whole job and is reduced to one of them. If it is not set,
        other variables of SLURM are used, or else the GPUs that the driver lists.
    """
    cards = visible_cards(environment)
    _, dash, number = name.rpartition("-")
    if dash and number.isdigit():
        environment.update(cards.environment(int(number), environment))
    elif cards.of_job and cards.names:  # another job may have the others
        environment.update(cards.all_visible(environment))


async def _drain(worker: Any) -> None:
    """Leave between two tasks; dask's own lifetime, which interrupts tasks, only applies to unexpectedly long ones."""
    started, longest, begun = time.monotonic(), 0.0, dict[str, float]()
    while True:
        await asyncio.sleep(_POLL_S)
        now = time.monotonic()
        begun = {task.key: begun.get(task.key, now) for task in worker.state.executing}
        longest = max([longest, *(now - since for since in begun.values())])
        if now - started > last_begin(worker.lifetime, longest):
            break
    worker.status = Status.paused
    while worker.state.executing_count:
        await asyncio.sleep(_POLL_S)
    await asyncio.sleep(_SEND_S)
    await worker.close_gracefully(restart=False, reason="walltime-is-near")


def last_begin(lifetime: float, longest: float) -> float:
    """Return the latest time, in seconds of a worker's lifetime, at which it may start a task.

    ``longest``: seconds of the longest task so far. At least half of the lifetime.
    """
    return lifetime - min(_LEAST_LEFT_S + _TIMES_LONGEST * longest, lifetime / 2)
