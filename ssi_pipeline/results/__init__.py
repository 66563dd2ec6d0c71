"""Results of a run, read from its ledger and output: status, failures, metrics, export.

The names below are loaded at their first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssi_pipeline.lazy import lazily

if TYPE_CHECKING:
    from ssi_pipeline.results.status import RunStatus, read_status

__all__ = ["RunStatus", "read_status"]

__getattr__ = lazily(__name__, {"RunStatus": "status", "read_status": "status"})
