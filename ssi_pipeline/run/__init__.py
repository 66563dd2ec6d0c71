"""A run from the client's side: plan, set up or resume, drive, finish; and what can be said of it later."""

from ssi_pipeline.run.complete import finish_parts
from ssi_pipeline.run.driver import run
from ssi_pipeline.run.outcome import Outcome
from ssi_pipeline.run.part import run_part
from ssi_pipeline.run.prepare import Prepared, prepare
from ssi_pipeline.run.status import RunStatus, read_status
from ssi_pipeline.run.verify import Verification, verify

__all__ = [
    "Outcome",
    "Prepared",
    "RunStatus",
    "Verification",
    "finish_parts",
    "prepare",
    "read_status",
    "run",
    "run_part",
    "verify",
]
