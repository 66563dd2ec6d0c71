"""Device and peak memory of a worker."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ssi_pipeline.errors import UnfitError


@lru_cache(maxsize=8)
def choose_device(wanted: str) -> str:
    """Return ``'cpu'`` or ``'cuda'``; 'auto' is a GPU if torch sees one.

    Raises
    ------
    UnfitError
        ``'cuda'`` is requested and there is none.
    """
    if wanted == "cpu":
        return "cpu"
    import torch

    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise UnfitError("executor.device is cuda, but torch sees no GPU on this worker: set it to auto or cpu")
    return "cuda" if available else "cpu"


@lru_cache(maxsize=8)
def device_name(wanted: str) -> str:
    """Return the device as text: ``cpu``, ``cuda:0 NVIDIA H100``, or ``none``."""
    try:
        if choose_device(wanted) == "cpu":
            return "cpu"
    except UnfitError:
        return "none"
    import torch

    try:
        return f"cuda:{torch.cuda.current_device()} {torch.cuda.get_device_name()}"
    except (RuntimeError, AssertionError):  # not usable; the task reports it
        return "none"


def use_threads(threads: int) -> None:
    """Set torch's number of threads: results are byte-identical only for equal numbers."""
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


@dataclass(frozen=True, slots=True)
class Peaks:
    """Peak memory in bytes: resident memory of this process, and what torch allocated on its GPU (0 without one)."""

    host: int
    device: int


NO_PEAKS = Peaks(0, 0)


def reset_peaks() -> None:
    """Reset the peak memory, if the system supports it (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peaks() -> Peaks:
    """Return the peak memory since ``reset_peaks``."""
    torch = sys.modules.get("torch")
    on_device = torch.cuda.max_memory_allocated() if torch is not None and torch.cuda.is_initialized() else 0
    return Peaks(_resident(), int(on_device))


def _resident() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    high_water = next(line for line in lines if line.startswith("VmHWM"))
    return int(high_water.split()[1]) * 1024
