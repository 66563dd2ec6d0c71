"""Plan, start, resume, drive, finish and verify a run, on the client's side.

The names below are loaded at their first use: `ssi plan` needs none of what drives a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssi_pipeline.lazy import lazily

if TYPE_CHECKING:
    from ssi_pipeline.run.array.finish import finish_parts
    from ssi_pipeline.run.array.task import run_part
    from ssi_pipeline.run.checks.verify import Verification, verify
    from ssi_pipeline.run.driver import run
    from ssi_pipeline.run.growth.driver import follow
    from ssi_pipeline.run.outcome import Outcome

__all__ = ["Outcome", "Verification", "finish_parts", "follow", "run", "run_part", "verify"]

__getattr__ = lazily(
    __name__,
    {
        "Outcome": "outcome",
        "Verification": "checks.verify",
        "finish_parts": "array.finish",
        "follow": "growth.driver",
        "run": "driver",
        "run_part": "array.task",
        "verify": "checks.verify",
    },
)
