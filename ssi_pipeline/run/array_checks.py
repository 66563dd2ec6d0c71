"""Are the arrays of an output still those that the run's plan describes?"""

from __future__ import annotations

from typing import Any

import zarr

from ssi_pipeline.errors import OutputError
from ssi_pipeline.storage.output import UNCERTAINTY
from ssi_pipeline.tasks import Context


def refuse_altered_arrays(context: Context) -> None:
    """Refuse an output one of whose arrays has another shape, chunks or type than the run gave it.

    Voxels would be read from, and written to, other places than those that the ledger speaks of.

    Raises
    ------
    OutputError
        One has; says what was expected and what was found.
    """
    output = context.document.config.output
    for name in context.arrays:
        array = zarr.open_array(output.path / name, mode="r")
        found = (array.shape, array.shards or array.chunks, array.chunks, str(array.dtype))
        wanted = _wanted(context, name)
        if found != wanted:
            raise OutputError(
                f"array {name} of {output.path} is not as the run made it: expected {_show(wanted)}, found "
                f"{_show(found)}. Its zarr.json (.zarray) was changed: put it back, or start over with `ssi run --new`"
            )


def _wanted(context: Context, name: str) -> tuple[Any, ...]:
    level, plan = int(name.rpartition("/")[2]), context.plan
    axes = context.document.volume.axes

    def on_disk(zyx: tuple[int, ...], planes: tuple[int, ...] = (1, 1)) -> tuple[int, ...]:
        """Return the entries of the axes that the output has."""
        return tuple(n for axis, n in zip("tczyx", (*planes, *zyx), strict=True) if axis in axes)

    dtype = "float32" if name.startswith(UNCERTAINTY) else context.dtype
    shape = on_disk(context.pyramid.shapes[level], plan.shape[:2])
    return shape, on_disk(plan.shard), on_disk(plan.chunk), dtype


def _show(array: tuple[Any, ...]) -> str:
    shape, shard, chunk, dtype = array
    return f"{dtype} of shape {shape} in shards of {shard} and chunks of {chunk}"
