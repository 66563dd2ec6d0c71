"""Results of a run, read from its ledger and output: status, failures, metrics, export."""

from ssi_pipeline.results.status import RunStatus, read_status

__all__ = ["RunStatus", "read_status"]
