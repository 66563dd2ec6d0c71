"""Plan, start, resume, drive, finish and verify a run, on the client's side."""

from ssi_pipeline.run.array.finish import finish_parts
from ssi_pipeline.run.array.task import run_part
from ssi_pipeline.run.checks.verify import Verification, verify
from ssi_pipeline.run.driver import run
from ssi_pipeline.run.outcome import Outcome
from ssi_pipeline.run.prepare import Prepared, prepare

__all__ = [
    "Outcome",
    "Prepared",
    "Verification",
    "finish_parts",
    "prepare",
    "run",
    "run_part",
    "verify",
]
