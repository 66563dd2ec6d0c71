"""Executors: run batches of jobs in this process, on a dask cluster, or in SLURM jobs."""

from ssi_pipeline.executors.base import Completed, Executor
from ssi_pipeline.executors.open import open_executor

__all__ = ["Completed", "Executor", "open_executor"]
