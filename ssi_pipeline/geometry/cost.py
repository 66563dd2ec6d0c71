"""What a plan costs in bytes, from shapes alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ssi_pipeline.config import NetworkConfig, RunConfig
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.geometry.tiles import TilePlan
from ssi_pipeline.geometry.volume import Volume

PROCESS_BYTES = 700 * 2**20
"""Resident size of a worker before its first tile (python, torch, dask, zarr), measured 0.45 to 0.6 GiB."""

_FLOAT = 4

_PATCH_2D = 128
_PATCH_3D = (24, 64, 64)


_MOST_ASKED = 10_000
"""Tiles along one axis that the bytes read are summed over; that takes 0.1 s."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes that a run reads and writes, and what it needs at its peak."""

    bytes_read: int
    bytes_written: int
    bytes_scratch_written: int
    bytes_scratch_peak: int
    bytes_pyramid: int
    bytes_worker_memory: int
    read_amplification: float

    @property
    def bytes_disk(self) -> int:
        """Free bytes needed if nothing compressed at all."""
        return self.bytes_written + self.bytes_pyramid + self.bytes_scratch_peak


def estimate_cost(plan: TilePlan, volume: Volume, config: RunConfig, window: int) -> Cost:
    """Return the cost of a plan; ``window`` is the number of tiles under way at once."""
    planes = plan.shape[0] * plan.shape[1]
    read = planes * math.prod(_total_read(plan, axis) for axis in range(3)) * volume.itemsize
    out_itemsize = volume.itemsize if config.output.dtype == "input" else _FLOAT
    voxels = math.prod(plan.shape)
    extra = voxels * _FLOAT if config.output.uncertainty else 0
    tile_bytes = math.prod(plan.valid_shape) * _FLOAT * (2 if extra else 1)
    in_flight = 0 if plan.direct else min(plan.n_tiles, _front(plan) + window)
    kept = config.output.keep_scratch or config.training.retrain
    pyramid = voxels * out_itemsize // 3 if config.output.pyramid else 0
    return Cost(
        bytes_read=read,
        bytes_written=voxels * out_itemsize + extra,
        bytes_scratch_written=0 if plan.direct else plan.n_tiles * tile_bytes,
        bytes_scratch_peak=(plan.n_tiles if kept else in_flight) * tile_bytes * (not plan.direct),
        bytes_pyramid=pyramid,
        bytes_worker_memory=worker_bytes(config, plan.domain_shape),
        read_amplification=read / (voxels * volume.itemsize),
    )


def worker_bytes(config: RunConfig, domain_shape: Ints) -> int:
    """Estimate the peak resident bytes of a worker that solves one tile with this domain (z y x)."""
    voxels = math.prod(domain_shape)
    arrays = 16 * _FLOAT * voxels
    solver = config.method.floats * _FLOAT * voxels
    if not config.method.network:
        return PROCESS_BYTES + arrays + solver
    patch = math.prod(patch_shape(config, domain_shape)) * config.training.batch
    per_voxel = _activation_floats(config.network) * _FLOAT
    return PROCESS_BYTES + arrays + solver + per_voxel * max(voxels, 4 * patch)


def patch_shape(config: RunConfig, domain_shape: Ints) -> Ints:
    """Return the training patch (z y x), cut to the domain, in multiples of the network's pooling."""
    from ssi_pipeline.geometry.plan import per_axis  # a plan needs costs, a cost needs patches

    three = config.tiling.dimensions == 3
    default = _PATCH_3D if three else (1, _PATCH_2D, _PATCH_2D)
    asked = per_axis(config.training.patch, default, config.tiling.dimensions, 1)
    step = 2 ** (config.network.levels - 1) if config.network.kind == "unet" else 1
    steps = (step if three else 1, step, step)
    return tuple(min(-(-p // s) * s, d) for p, s, d in zip(asked, steps, domain_shape, strict=True))


def _activation_floats(network: NetworkConfig) -> int:
    """Floats alive per voxel in one pass without gradients; a UNet's deeper levels add a third."""
    return network.width * (6 if network.kind == "unet" else 4)


def _total_read(plan: TilePlan, axis: int) -> int:
    """Sum over the tiles along one axis of the pixels read: tiles are products of intervals.

    Every tile along the axis is asked: a halo can reach over several tiles, and where the core is
    no multiple of the stride no two neighbours read the same length. Of more than 10,000 as many are asked.
    """
    n = plan.tile_grid[2:][axis]
    step = math.prod(plan.tile_grid[2:][axis + 1 :])
    asked = min(n, _MOST_ASKED)
    read = sum(plan.tile(i * n // asked * step).read.shape[axis] for i in range(asked))
    return read * n // asked


def _front(plan: TilePlan) -> int:
    """Most tiles whose scratch is held at once when tiles are solved in order and blocks stitched when ready.

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
