"""Tell errors of a GPU apart: a broken machine, and a process that cannot compute any more.

torch raises them as RuntimeErrors; the messages are those of torch, CUDA, cuDNN, cuBLAS and cuFFT. Whatever is not in
the tables is an error of the task: what a library refuses (BAD_PARAM, INVALID_VALUE) it refuses on any machine.
"""

from __future__ import annotations

import re
import sys

from ssi_pipeline.inversion.device_memory import is_out_of_memory

_BROKEN = re.compile(
    r"(CUDA|HIP)( driver)? error: "
    r"(?!invalid argument|invalid configuration argument|operation not permitted|CUBLAS_|HIPBLAS_)"
    r"|(CUDA|HIP) error: (CUBLAS|HIPBLAS)_STATUS_(NOT_INITIALIZED|EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR)"
    r"|cuDNN error: CUDNN_STATUS_(NOT_INITIALIZED|EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR|SUBLIBRARY)"
    r"|cuFFT error: CUFFT_(INTERNAL_ERROR|EXEC_FAILED|SETUP_FAILED)"
    r"|(CUDA|HIP) unknown error"
    r"|Unexpected error from (cuda|hip)GetDeviceCount\(\)"
    r"|Found no NVIDIA driver|The NVIDIA driver on your system is too old"
    r"|No (CUDA|HIP) GPUs are available"
    r"|CUDA driver initialization failed",
    re.IGNORECASE,
)
"""A failed GPU, driver or library: the task may succeed elsewhere."""


def is_broken_gpu(problem: BaseException) -> bool:
    """Return whether a GPU, or what drives it, has failed."""
    return isinstance(problem, RuntimeError) and not is_out_of_memory(problem) and bool(_BROKEN.match(str(problem)))


def process_is_lost() -> bool:
    """Return whether this process can use its GPU no more.

    After some errors (an illegal address, a failed assertion, an uncorrectable memory error) every further call fails
    in the same process, on a GPU that works in a new one. A call tells; no list of messages would be complete.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    try:
        torch.zeros(1, device="cuda")
        torch.cuda.synchronize()
    except RuntimeError as problem:
        return not is_out_of_memory(problem)
    return False
