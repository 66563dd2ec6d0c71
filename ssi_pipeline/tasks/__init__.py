"""Tasks run by workers. A job refers to a tile, a block or a channel; data are exchanged through storage only."""

from ssi_pipeline.tasks.context import Context
from ssi_pipeline.tasks.execute import execute
from ssi_pipeline.tasks.opening import RunSpec, load_context

__all__ = ["Context", "RunSpec", "execute", "load_context"]
