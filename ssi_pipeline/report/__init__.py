"""HTML report of a run: result, quality, failures and their causes."""

from ssi_pipeline.report.page import write_report

__all__ = ["write_report"]
