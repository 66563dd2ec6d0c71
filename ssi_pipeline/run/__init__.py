"""A run from the client's side: plan, set up or resume, drive, finish; and what can be said of it later."""

from ssi_pipeline.results.status import RunStatus, read_status
from ssi_pipeline.run.array_finish import finish_parts
from ssi_pipeline.run.array_task import run_part
from ssi_pipeline.run.checks.verify import Verification, verify
from ssi_pipeline.run.driver import run
from ssi_pipeline.run.outcome import Outcome
from ssi_pipeline.run.prepare import Prepared, prepare

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
