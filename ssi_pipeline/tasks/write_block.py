"""Write blocks: from the scratch of their tiles, from one tile directly, or from the finer pyramid level."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.geometry import Block, Tile
from ssi_pipeline.geometry.pyramid import PyramidBlock
from ssi_pipeline.phases import phase
from ssi_pipeline.stitch import blend_block
from ssi_pipeline.storage.outputs.sink import Written, to_dtype
from ssi_pipeline.storage.state.records import Job, TaskRecord
from ssi_pipeline.tasks.context import Context


def block_digest(layers: Sequence[NDArray[Any]]) -> str:
    """Return the digest of the voxels of a block, 16 hexadecimal digits, as recorded in the ledger."""
    found = hashlib.blake2b(digest_size=8)
    for values in layers:
        found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def write_block(context: Context, block: Block, layers: Sequence[NDArray[Any]]) -> dict[str, Any]:
    """Write the estimate (and its uncertainty), in the dtypes of the output; returns what proves it (``_proof``)."""
    parts = zip(context.sinks, layers, strict=True)
    return _proof(layers, [sink.write(0, block.t, block.c, block.write, values) for sink, values in parts])


def _proof(layers: Sequence[NDArray[Any]], written: Sequence[Written]) -> dict[str, Any]:
    """Return digest and size of a block, and the ETags of its objects, in the order of its images."""
    etags = [part.etag for part in written]
    found = {"digest": block_digest(layers), "stored_bytes": sum(part.size for part in written)}
    return {**found, "etags": etags} if all(etags) else found


def layer_dtypes(context: Context) -> tuple[str, ...]:
    """Return the dtype of each layer in the output."""
    return (context.dtype, "float32")[: context.layers]


def as_written(context: Context, layers: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return the estimate (and its uncertainty) in the dtypes of the output."""
    return [to_dtype(values, dtype) for values, dtype in zip(layers, layer_dtypes(context), strict=True)]


Part = tuple[Tile, NDArray[np.float32]]
"""A tile, and its layers (layer z y x) inside a block."""

Stitched = tuple[Sequence[NDArray[Any]], dict[str, Any]]
"""The layers (z y x) of a block in the dtypes of the output, and the seams of its tiles."""


def read_parts(context: Context, job: Job) -> list[Part]:
    """Read the tiles of a block from scratch, as far as they are inside it."""
    block = context.plan.block(job.index)
    tiles = [context.plan.tile(index) for index in block.tiles]
    with phase("write"):
        return [(tile, context.scratch.read(tile, tile.valid.intersect(block.write))) for tile in tiles]


def stitch_block(context: Context, job: Job, parts: Sequence[Part]) -> Stitched:
    """Blend the tiles of a block."""
    with phase("write"):
        layers, seams = blend_layers(context, context.plan.block(job.index), parts)
        return as_written(context, layers), seams


def write_stitched(context: Context, job: Job, stitched: Stitched) -> tuple[dict[str, Any], list[TaskRecord]]:
    """Write a blended block; returns what proves it, and its seams. No other record follows from it."""
    layers, seams = stitched
    with phase("write"):
        return write_block(context, context.plan.block(job.index), layers) | seams, []


def blend_layers(
    context: Context, block: Block, parts: Sequence[Part]
) -> tuple[list[NDArray[np.float64]], dict[str, Any]]:
    """Return the blended layers of a block, and the seams of each tile as in its record.

    ``parts``: in the order of the tiles' indices.
    """
    layers = [
        blend_block(block.write, [(tile, values[i]) for tile, values in parts], context.plan.blend)
        for i in range(context.layers)
    ]
    _, seams = layers[0]
    return [blended for blended, _ in layers], {"seams": [[seam.tile, seam.squares, seam.voxels] for seam in seams]}


def read_finer(context: Context, job: Job) -> NDArray[Any]:
    """Read the voxels (z y x) of the finer level that a block of a pyramid level averages."""
    block = context.pyramid.block(job.index)
    return context.sink.read(block.level - 1, block.t, block.c, block.read)


def average_block(context: Context, job: Job, finer: NDArray[Any]) -> NDArray[Any]:
    """Average the finer level into one block of a pyramid level."""
    return to_dtype(downsample(finer, context.pyramid.block(job.index)), context.dtype)


def write_pyramid_block(context: Context, job: Job, coarse: NDArray[Any]) -> tuple[dict[str, Any], list[TaskRecord]]:
    """Write a block of a pyramid level; returns what proves it. No other record follows from it."""
    block = context.pyramid.block(job.index)
    return _proof([coarse], [context.sink.write(block.level, block.t, block.c, block.write, coarse)]), []


def downsample(finer: NDArray[Any], block: PyramidBlock) -> NDArray[np.float64]:
    """Return means over cells of ``block.factor`` voxels; cells at the border are averaged over their voxels."""
    edges = [np.arange(0, n, f) for n, f in zip(finer.shape, block.factor, strict=True)]
    total = finer.astype(np.float64)
    for axis, starts in enumerate(edges):
        sums = np.add.reduceat(total, starts, axis=axis)
        counts = np.diff(np.append(starts, finer.shape[axis]))
        shape = [1, 1, 1]
        shape[axis] = len(counts)
        total = sums / counts.reshape(shape)
    return total
