"""Results of a run, read from its ledger and output: status, failures, metrics, export.

The names below are loaded at their first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssi_pipeline.results.status import RunStatus, read_status

__all__ = ["RunStatus", "read_status"]

_MODULES = {"RunStatus": "status", "read_status": "status"}


def __getattr__(name: str) -> Any:
    """Return a name of ``__all__`` from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
