"""Run by dask in each worker of a SLURM job before it takes work: one process sees one GPU."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Any


def dask_setup(worker: Any) -> None:
    """Called by ``dask worker --preload`` when the worker's name is known, and torch is not imported yet."""
    choose_gpu(str(worker.name), os.environ)


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
