"""Run by dask in each worker of a SLURM job before it takes work: one GPU each, and a timely leave."""

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
"""A worker takes no new task when less than this is left of its life, and leaves when it has finished what it has."""

_POLL_S = 0.2
_SEND_S = 1.0
"""Time for the last result to reach the scheduler."""


async def dask_setup(worker: Any) -> None:
    """Called by ``dask worker --preload`` when the worker's name is known, and torch is not imported yet."""
    choose_gpu(str(worker.name), os.environ)
    importlib.import_module("ssi_pipeline.executors.warm")  # torch with it, which has to see the one GPU only
    if worker.lifetime:
        worker._ssi_drain = asyncio.create_task(_drain(worker))  # kept from collection


def choose_gpu(name: str, environment: MutableMapping[str, str]) -> None:
    """Leave a worker that shares its job with others the GPU of its number.

    Parameters
    ----------
    name
        ``ssi3`` where the job has one worker, ``ssi3-0``, ``ssi3-1``, ... where it has several.
    environment
        SLURM's CUDA_VISIBLE_DEVICES names the GPUs of the whole job; reduced to one of them. Where the site leaves it
        unset, what else SLURM says of the job, or else what the driver shows, takes its place.
    """
    cards = visible_cards(environment)
    _, dash, number = name.rpartition("-")
    if dash and number.isdigit():
        environment.update(cards.environment(int(number), environment))
    elif cards.of_job and cards.names:  # another job may have the others
        environment.update(cards.all_visible(environment))


async def _drain(worker: Any) -> None:
    """Leave between two tasks; dask's own lifetime, which cuts them, is for those that take longer than any before."""
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
    """Return how old a worker may be when it begins a task, in seconds, for it to end within its lifetime.

    ``longest``: seconds of the longest task so far. Never less than half of a life: work has to be done.
    """
    return lifetime - min(_LEAST_LEFT_S + _TIMES_LONGEST * longest, lifetime / 2)
