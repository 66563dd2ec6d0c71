"""One HTML file that tells a run from start to end: what came out, how good it is, what failed, and why."""

from ssi_pipeline.report.page import write_report

__all__ = ["write_report"]
