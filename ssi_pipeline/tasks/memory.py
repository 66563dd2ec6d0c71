"""What a worker does when its GPU's memory does not suffice."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

from ssi_pipeline.config import RunConfig

if TYPE_CHECKING:
    from ssi_pipeline.inversion.solution import Solution


def with_smaller_batch(solve: Callable[[RunConfig], Solution], config: RunConfig) -> Solution:
    """Solve; where the device's memory does not suffice, free it and solve once more with half of the patches a step.

    Memory may be short because of what ran before (fragments), or because another process has some of it. The
    estimate is then another one than with the batch that was asked for: its note says so.

    Raises
    ------
    torch.OutOfMemoryError
        Half a batch is too large as well.
    """
    import torch

    try:
        return solve(config)
    except torch.OutOfMemoryError:
        pass  # the exception holds the tensors of the frames that it went through: free it first
    gc.collect()
    torch.cuda.empty_cache()  # does nothing where there is no GPU
    batch = max(1, config.training.batch // 2)
    smaller = config.model_copy(update={"training": config.training.model_copy(update={"batch": batch})})
    solution = solve(smaller)
    note = f"out of device memory with training.batch {config.training.batch}, solved with {batch}"
    return dataclasses.replace(solution, note="; ".join(filter(None, (solution.note, note))))
