"""Tasks run by workers. A job refers to a tile, a block or a channel; data are exchanged through storage only.

The names below are loaded at their first use: `ssi status` needs none of what solves tiles. ``execute`` is a module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssi_pipeline.tasks.context import Context
    from ssi_pipeline.tasks.opening import RunSpec, load_context

__all__ = ["Context", "RunSpec", "load_context"]

_MODULES = {"Context": "context", "RunSpec": "opening", "load_context": "opening"}


def __getattr__(name: str) -> Any:
    """Return a name of ``__all__`` from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
