"""Executors: run batches of jobs in this process, on a dask cluster, or in SLURM jobs.

The names below are loaded at their first use: `ssi plan` asks for the GPUs of this machine and needs none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssi_pipeline.executors.base import Completed, Executor
    from ssi_pipeline.executors.open import open_executor

__all__ = ["Completed", "Executor", "open_executor"]

_MODULES = {"Completed": "base", "Executor": "base", "open_executor": "open"}


def __getattr__(name: str) -> Any:
    """Return a name of ``__all__`` from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
