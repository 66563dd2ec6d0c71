"""Retry with a smaller batch when a GPU is out of memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from ssi_pipeline.errors import DeviceMemoryError
from ssi_pipeline.inversion.device_memory import free_device_memory, is_out_of_memory

if TYPE_CHECKING:
    from ssi_pipeline.inversion.solution import Solution


def with_smaller_batch(solve: Callable[[int], Solution], batch: int) -> Solution:
    """Solve with ``batch`` patches per training step; if out of device memory, free it and retry with half the batch.

    Memory may be short because it is fragmented, or used by another process. The estimate differs from that with the
    configured batch, which is recorded in its note. The network is evaluated in pieces by itself (``pieces``).

    Raises
    ------
    DeviceMemoryError
        Half the batch is too large as well.
    """
    try:
        return solve(batch)
    except RuntimeError as problem:
        if not is_out_of_memory(problem):
            raise
    free_device_memory()
    half = max(1, batch // 2)
    try:
        solution = solve(half)
    except RuntimeError as problem:
        if not is_out_of_memory(problem):
            raise
        raise DeviceMemoryError(
            f"the GPU's memory is too small for this tile, also with training.batch {half}: lower tiling.core or "
            f"executor.workers_per_gpu, or use a GPU with more free memory ({str(problem).splitlines()[0]})"
        ) from problem
    note = f"out of device memory with training.batch {batch}, solved with {half}"
    return dataclasses.replace(solution, note="; ".join(filter(None, (solution.note, note))))
