"""Tasks run by workers. A job refers to a tile, a block or a channel; data are exchanged through storage only.

The names below are loaded at their first use: `ssi status` needs none of what solves tiles. ``execute`` is a module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssi_pipeline.lazy import lazily

if TYPE_CHECKING:
    from ssi_pipeline.tasks.context import Context
    from ssi_pipeline.tasks.opening import RunSpec, load_context

__all__ = ["Context", "RunSpec", "load_context"]

__getattr__ = lazily(__name__, {"Context": "context", "RunSpec": "opening", "load_context": "opening"})
