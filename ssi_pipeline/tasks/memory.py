"""What a worker does when its GPU's memory does not suffice."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssi_pipeline.inversion.solution import Solution


def with_smaller_batch(solve: Callable[[int], Solution], batch: int) -> Solution:
    """Solve with ``batch`` patches in a training step; out of device memory, free it and solve once with half of them.

    Memory may be short because of what ran before (fragments), or because another process has some of it. The
    estimate is then another one than with the batch that was asked for: its note says so.

    Raises
    ------
    torch.OutOfMemoryError
        Half a batch is too large as well.
    """
    import torch

    try:
        return solve(batch)
    except torch.OutOfMemoryError:
        pass  # the exception holds the tensors of the frames that it went through: free it first
    gc.collect()
    torch.cuda.empty_cache()  # does nothing where there is no GPU
    half = max(1, batch // 2)
    solution = solve(half)
    note = f"out of device memory with training.batch {batch}, solved with {half}"
    return dataclasses.replace(solution, note="; ".join(filter(None, (solution.note, note))))
