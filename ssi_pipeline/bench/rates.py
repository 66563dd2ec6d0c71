"""Measure what a machine computes and moves at best: products of matrices, convolutions, copies."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

_SECONDS = 0.2
"""Time spent on one measurement: several calls, of which the fastest counts."""

_FEATURES, _SIDE, _BATCH = 16, 128, 4
"""The widest convolution of the default network, on its default batch."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Measured rates, float32. ``convolution_gflops``: forward and backward, of 3 x 3 pixels and 16 features."""

    matrix_gflops: float
    convolution_gflops: float
    copy_gb_per_s: float


@dataclass(frozen=True, slots=True)
class Machine:
    """What was measured on. ``device``: 'cpu', or the name of the GPU; ``threads``: of torch."""

    processor: str
    cores: int
    threads: int
    torch: str
    device: str


def machine(device: str) -> Machine:
    """Return this machine; ``device``: as in the ledger."""
    return Machine(_processor(), len(os.sched_getaffinity(0)), torch.get_num_threads(), torch.__version__, device)


def _processor() -> str:
    """Return the processor's name, which Python does not know on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def clock(device: str) -> Callable[[], float]:
    """Return a clock that reads when a device has done all."""

    def read() -> float:
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()

    return read


def rates(device: str) -> Rates:
    """Measure the rates of a device, in about a second."""
    n, floats = (1024, 2**24) if device == "cpu" else (4096, 2**28)
    a, b, source = torch.randn(n, n, device=device), torch.randn(n, n, device=device), torch.ones(floats, device=device)
    target = torch.empty_like(source)
    x = torch.randn(_BATCH, _FEATURES, _SIDE, _SIDE, device=device).contiguous(memory_format=torch.channels_last)
    kernels = torch.randn(_FEATURES, _FEATURES, 3, 3, device=device).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    kernels.requires_grad_()

    def convolve() -> None:
        found = torch.nn.functional.conv2d(x, kernels, padding=1)
        torch.autograd.grad(found, (x, kernels), found)

    convolution = 3 * 2 * 9 * _FEATURES**2 * _BATCH * _SIDE**2
    return Rates(
        matrix_gflops=1e-9 * 2 * n**3 / _fastest(device, lambda: a @ b),
        convolution_gflops=1e-9 * convolution / _fastest(device, convolve),
        copy_gb_per_s=1e-9 * 2 * 4 * floats / _fastest(device, lambda: target.copy_(source)),
    )


def _fastest(device: str, work: Callable[[], object]) -> float:
    """Return the seconds of the fastest of several calls, after one more."""
    read, times = clock(device), list[float]()
    work()
    until = read() + _SECONDS
    while not times or time.perf_counter() < until:
        started = read()
        work()
        times.append(read() - started)
    return min(times)
