"""Everything a worker runs. A job names a tile, a block or a channel; all data travel through storage."""

from ssi_pipeline.tasks.context import Context, RunSpec, load_context
from ssi_pipeline.tasks.execute import execute

__all__ = ["Context", "RunSpec", "execute", "load_context"]
