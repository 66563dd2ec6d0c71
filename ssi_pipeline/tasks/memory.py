"""Retry with a smaller batch when a GPU is out of memory."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

from ssi_pipeline.tasks.gpu_errors import is_out_of_memory

if TYPE_CHECKING:
    from ssi_pipeline.inversion.solution import Solution


def with_smaller_batch(solve: Callable[[int], Solution], batch: int) -> Solution:
    """Solve with ``batch`` patches per training step; if out of device memory, free it and retry with half the batch.

    Memory may be short because it is fragmented, or used by another process. The estimate differs from that with the
    configured batch, which is recorded in its note.

    Raises
    ------
    RuntimeError
        Half the batch is too large as well: torch's error, or that of a library.
    """
    import torch

    try:
        return solve(batch)
    except RuntimeError as problem:
        if not is_out_of_memory(problem):
            raise
    # the exception, which is gone here, references the tensors of its frames
    gc.collect()
    torch.cuda.empty_cache()  # does nothing without a GPU
    half = max(1, batch // 2)
    solution = solve(half)
    note = f"out of device memory with training.batch {batch}, solved with {half}"
    return dataclasses.replace(solution, note="; ".join(filter(None, (solution.note, note))))
