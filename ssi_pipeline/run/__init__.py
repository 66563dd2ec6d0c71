"""Plan, start, resume, drive, finish and verify a run, on the client's side.

The names below are loaded at their first use: `ssi plan` needs none of what drives a run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssi_pipeline.run.array.finish import finish_parts
    from ssi_pipeline.run.array.task import run_part
    from ssi_pipeline.run.checks.verify import Verification, verify
    from ssi_pipeline.run.driver import run
    from ssi_pipeline.run.growth.driver import follow
    from ssi_pipeline.run.outcome import Outcome

__all__ = ["Outcome", "Verification", "finish_parts", "follow", "run", "run_part", "verify"]

_MODULES = {
    "Outcome": "outcome",
    "Verification": "checks.verify",
    "finish_parts": "array.finish",
    "follow": "growth.driver",
    "run": "driver",
    "run_part": "array.task",
    "verify": "checks.verify",
}


def __getattr__(name: str) -> Any:
    """Return a name of ``__all__`` from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
