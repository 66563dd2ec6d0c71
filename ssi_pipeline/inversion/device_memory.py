"""Tell whether the memory of a GPU was too small, and give back what torch keeps of it."""

from __future__ import annotations

import gc
import re
import sys

_TEXTS = re.compile(
    r"(CUDA|HIP) out of memory"
    r"|(CUDA|HIP)( driver)? error: out of memory"
    r"|cusolver error: CUSOLVER_STATUS_ALLOC_FAILED"
    r"|GET was unable to find an engine"  # of cuDNN, short of memory for any of its ways
    r"|(CUDA|HIP) error: (CUBLAS|HIPBLAS|CUSOLVER|CUSPARSE)_STATUS_ALLOC_FAILED"
    r"|cuFFT error: CUFFT_(ALLOC_FAILED|NO_WORKSPACE)"
    r"|cuDNN error: CUDNN_STATUS_(ALLOC_FAILED|INTERNAL_ERROR_(DEVICE|HOST)_ALLOCATION_FAILED)",
    re.IGNORECASE,
)
"""Too little memory, of whichever library: less at once may fit."""


def is_out_of_memory(problem: BaseException) -> bool:
    """Return whether the memory of a GPU was too small."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(problem, torch.OutOfMemoryError):
        return True
    return isinstance(problem, RuntimeError) and _TEXTS.match(str(problem)) is not None


def free_device_memory() -> None:
    """Give back what torch keeps for later; does nothing without a GPU.

    Called outside of the handler of an exception, which references the tensors of its frames.
    """
    import torch

    gc.collect()
    torch.cuda.empty_cache()
