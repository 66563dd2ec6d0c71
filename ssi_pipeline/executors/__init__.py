"""Executors: run batches of jobs in this process, on a dask cluster, or in SLURM jobs.

The names below are loaded at their first use: `ssi plan` asks for the GPUs of this machine and needs none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssi_pipeline.lazy import lazily

if TYPE_CHECKING:
    from ssi_pipeline.executors.base import Completed, Executor
    from ssi_pipeline.executors.open import open_executor

__all__ = ["Completed", "Executor", "open_executor"]

__getattr__ = lazily(__name__, {"Completed": "base", "Executor": "base", "open_executor": "open"})
