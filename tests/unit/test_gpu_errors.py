"""Errors of a GPU, by the real texts of torch and its libraries: memory, a broken machine, or the task itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.executors import serial
from ssi_pipeline.inversion.device_memory import is_out_of_memory
from ssi_pipeline.inversion.network import precision
from ssi_pipeline.inversion.network.precision import float32_means_float32
from ssi_pipeline.inversion.solution import Solution
from ssi_pipeline.storage.state.records import Failure, Job, TaskRecord
from ssi_pipeline.tasks import RunSpec
from ssi_pipeline.tasks.attempt import failure_of
from ssi_pipeline.tasks.gpu_errors import is_broken_gpu, process_is_lost
from ssi_pipeline.tasks.memory import with_smaller_batch

MEMORY = [
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 15.77 GiB",
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "cuFFT error: CUFFT_ALLOC_FAILED",
    "CUDA driver error: out of memory",
    "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
    "GET was unable to find an engine to execute this computation",
    "HIP out of memory. Tried to allocate 2.00 GiB",
]

BROKEN = [
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported",
    "CUDA error: unspecified launch failure",
    "CUDA error: device-side assert triggered",
    "CUDA error: no kernel image is available for execution on the device",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb, m, n, k, ...)`",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED_CUDART",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    "cuFFT error: CUFFT_INTERNAL_ERROR",
    "cuFFT error: CUFFT_EXEC_FAILED",
    "CUDA unknown error - this may be due to an incorrectly set up environment, e.g. changing env variable "
    "CUDA_VISIBLE_DEVICES after program start. Setting the available devices to be zero.",
    "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling NumCudaDevices() that "
    "might have already set an error? Error 802: system not yet initialized",
    "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver",
    "The NVIDIA driver on your system is too old (found version 11040).",
    "No CUDA GPUs are available",
    "CUDA driver error: unknown error",
    "CUDA driver initialization failed, you might not have a CUDA gpu.",
]

OF_THE_TASK = [
    "CUDA error: invalid configuration argument",
    "CUDA error: invalid argument",
    "CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm( handle, opa, opb, m, n, k, ...)`",
    "cuDNN error: CUDNN_STATUS_BAD_PARAM",
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input.",
    "cuFFT error: CUFFT_INVALID_SIZE",
    "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 0",
]


@pytest.mark.parametrize("text", MEMORY)
def test_too_little_memory_is_known_of_every_library(text: str) -> None:
    problem = RuntimeError(text)
    assert is_out_of_memory(problem)
    assert failure_of(problem) is None


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_gpu_is_a_failure_of_the_machine(text: str) -> None:
    problem = torch.AcceleratorError(text)
    assert not is_out_of_memory(problem)
    assert failure_of(problem) == Failure("machine")


@pytest.mark.parametrize("text", OF_THE_TASK)
def test_what_a_library_refuses_is_a_failure_of_the_task(text: str) -> None:
    problem = RuntimeError(text)
    assert not is_out_of_memory(problem)
    assert not is_broken_gpu(problem)
    assert failure_of(problem) is None


@pytest.mark.parametrize("text", MEMORY)
def test_half_a_batch_is_tried_whichever_library_had_no_memory(text: str) -> None:
    tried = []

    def solve(batch: int) -> Solution:
        tried.append(batch)
        if batch > 4:
            raise RuntimeError(text)
        return Solution(np.zeros((1, 2, 2), np.float32), "network")

    assert "solved with 4" in with_smaller_batch(solve, 8).note
    assert tried == [8, 4]


def test_another_error_is_not_tried_again() -> None:
    def solve(batch: int) -> Solution:
        raise RuntimeError(BROKEN[1])

    with pytest.raises(RuntimeError, match="illegal memory access"):
        with_smaller_batch(solve, 8)


def failing(text: str) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise torch.AcceleratorError(text)

    return fail


@pytest.mark.parametrize(
    ("then", "lost"), [(None, False), (BROKEN[1], True), (BROKEN[3], True), (MEMORY[1], False)], ids=str
)
def test_a_process_is_lost_where_another_call_fails_too(then: str | None, lost: bool) -> None:
    call = mock.Mock() if then is None else failing(then)
    with (
        mock.patch.object(torch.cuda, "is_initialized", return_value=True),
        mock.patch.object(torch.cuda, "synchronize", call),
        mock.patch.object(torch, "zeros"),
    ):
        assert process_is_lost() == lost


def test_a_process_without_a_gpu_is_not_lost() -> None:
    assert not process_is_lost()


def test_a_run_in_one_process_ends_after_the_record_of_a_lost_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise all other tiles would fail one by one, on a GPU that works in a new process."""
    record = TaskRecord("solve", 0, "failed", error="CUDA error", failure=Failure("machine", process=True))
    monkeypatch.setattr(serial, "execute", lambda *_: [record])
    executor = serial.SerialExecutor(RunSpec("", ""))
    executor.submit([Job("solve", 0)])
    executor.submit([Job("solve", 1)])
    (completed,) = executor.completed(0)
    assert completed.records == (record,)
    with pytest.raises(ExecutorError, match="run again to resume"):
        executor.completed(0)


def test_the_field_is_read_back() -> None:
    record = TaskRecord("solve", 0, "failed", error="CUDA error", failure=Failure("machine", process=True))
    assert TaskRecord.from_line(record.to_line()).of_lost_process


def flags() -> tuple[bool, bool]:
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.fixture
def tf32() -> Iterator[None]:
    """Allow TF32 for convolutions, as torch does by default, and for products of matrices."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.usefixtures("tf32")
def test_float32_means_float32_on_a_gpu_and_the_flags_of_the_program_come_back() -> None:
    assert flags() == (True, True)
    with float32_means_float32("cpu"):
        assert flags() == (True, True)
    with float32_means_float32("cuda"), float32_means_float32("cuda"):
        assert precision._PLACES[0].fp32_precision == precision._PLACES[1].fp32_precision == "ieee"
    assert flags() == (True, True)


@pytest.mark.usefixtures("tf32")
def test_one_of_two_threads_that_ends_first_leaves_the_other_in_float32() -> None:
    first, second = float32_means_float32("cuda"), float32_means_float32("cuda")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert precision._PLACES[0].fp32_precision == "ieee"
    second.__exit__(None, None, None)
    assert flags() == (True, True)
