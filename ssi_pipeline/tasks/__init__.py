"""Tasks run by workers. A job refers to a tile, a block or a channel; data are exchanged through storage only."""

from ssi_pipeline.tasks.context import Context, RunSpec, load_context
from ssi_pipeline.tasks.execute import execute

__all__ = ["Context", "RunSpec", "execute", "load_context"]
