"""Cost of a plan in bytes, computed from shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ssi_pipeline.geometry.request import TileNeeds
from ssi_pipeline.geometry.tiles import TilePlan
from ssi_pipeline.geometry.volume import Volume

_FLOAT = 4

_MOST_ASKED = 10_000
"""Most tiles along one axis for the sum of bytes read, which takes 0.1 s."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes that a run reads and writes, and its peak needs.

    ``bytes_device_memory``: of each worker on its GPU; None on a CPU, or where the device is not known.
    """

    bytes_read: int
    bytes_written: int
    bytes_scratch_written: int
    bytes_scratch_peak: int
    bytes_pyramid: int
    bytes_worker_memory: int
    bytes_device_memory: int | None
    read_amplification: float


@dataclass(frozen=True, slots=True)
class OutputSizes:
    """Bytes written per voxel, and the use of scratch.

    ``itemsize``: bytes of the estimate. ``uncertainty``: a second array in float32. ``pyramid``: coarser levels.
    ``keeps_scratch``: tiles stay after blending.
    """

    itemsize: int
    uncertainty: bool = False
    pyramid: bool = True
    keeps_scratch: bool = False


def estimate_cost(
    plan: TilePlan, volume: Volume, output: OutputSizes, needs: TileNeeds, window: int, on_gpu: bool = False
) -> Cost:
    """Return the cost of a plan; ``window``: number of concurrently running tiles."""
    domain = plan.domain_shape
    area = plan.shape[1] * math.prod(_total_read(plan, axis) for axis in (1, 2)) * volume.itemsize
    read = area * (
        plan.shape[0] * _total_read(plan, 0) + sum(_neighbours(plan, volume, *each) for each in needs.neighbours)
    )
    voxels = math.prod(plan.shape)
    extra = voxels * _FLOAT if output.uncertainty else 0
    tile_bytes = math.prod(plan.valid_shape) * _FLOAT * (2 if extra else 1)
    in_flight = 0 if plan.direct else min(plan.n_tiles, _front(plan) + window)
    return Cost(
        bytes_read=read,
        bytes_written=voxels * output.itemsize + extra,
        bytes_scratch_written=0 if plan.direct else plan.n_tiles * tile_bytes,
        bytes_scratch_peak=(plan.n_tiles if output.keeps_scratch else in_flight) * tile_bytes * (not plan.direct),
        bytes_pyramid=voxels * output.itemsize // 3 if output.pyramid else 0,
        bytes_worker_memory=needs.host_bytes(domain) if on_gpu else needs.worker_bytes(domain),
        bytes_device_memory=needs.device_bytes(domain) if on_gpu else None,
        read_amplification=read / (voxels * volume.itemsize),
    )


def _total_read(plan: TilePlan, axis: int) -> int:
    """Sum over the tiles along one axis of the pixels read: tiles are products of intervals.

    Every tile along the axis is computed: a halo can span several tiles, and if the core is not a multiple of the
    stride, neighbours read different lengths. Of more than 10,000 tiles a sample of that size is used.
    """
    n = plan.tile_grid[2:][axis]
    step = math.prod(plan.tile_grid[2:][axis + 1 :])
    asked = min(n, _MOST_ASKED)
    read = sum(plan.tile(i * n // asked * step).read.shape[axis] for i in range(asked))
    return read * n // asked


def _neighbours(plan: TilePlan, volume: Volume, axis: str, distance: int) -> int:
    """Return the number of planes, of all frames of the region, that have this neighbour; along t at most."""
    frames, planes = plan.shape[0], plan.shape[2]
    if axis == "t":
        return max(0, min(frames, volume.shape[0] - abs(distance))) * planes
    first, last = plan.bounds.start[0], plan.bounds.stop[0]
    return frames * sum(first <= z + distance < last for z in range(planes))


def _front(plan: TilePlan) -> int:
    """Return the maximum number of tiles in scratch if tiles are solved in order and blocks stitched when ready.

    A tile's scratch is held until the last of its blocks is stitched, which waits for the last
    contributor to that block. Along one axis, with core == shard, tile 0 reaches into block 1, and
    block 1 waits for tile 2.
    """
    front, below = 1, 1
    axes = zip(plan.tile_grid[2:], plan.core, plan.blend, plan.shard, strict=True)
    for n, core, blend, shard in reversed(list(axes)):
        last_block_stop = -(-(core + blend) // shard) * shard
        front += below * min(n - 1, (last_block_stop - 1 + blend) // core)
        below *= n
    return front
