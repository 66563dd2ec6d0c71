"""Where jobs run: one contract, several places."""

from ssi_pipeline.executors.base import Completed, Executor
from ssi_pipeline.executors.open import open_executor

__all__ = ["Completed", "Executor", "open_executor"]
