"""Make a plan from a volume and a request, or refuse it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ssi_pipeline.errors import GeometryError
from ssi_pipeline.geometry.boxes import Box, Ints
from ssi_pipeline.geometry.request import TileNeeds, TilingRequest, WorkerMemory
from ssi_pipeline.geometry.tiles import TilePlan
from ssi_pipeline.geometry.volume import AXES, SPATIAL, Axis, Volume, per_axis

_MAX_CORE = {2: 1024, 3: 192}
_CORE_STEP = {2: 64, 3: 16}
_MAX_CHUNK = {2: 256, 3: 64}
_MAX_BLEND = {2: 32, 3: 12}
_MOST_TASKS, _MOST_ALONG = 100_000_000, 1_000_000
"""Most tiles or blocks of a run, limited by the client's memory: more than 50 TB in tiles of 1024 x 1024."""

_MOST_CHANNELS = 10_000
"""Most channels, each calibrated before the first tile; cyclic imaging has about a hundred."""

_MEMORY_SHARE = 0.6
"""Fraction of a worker's memory for a tile; the rest is a margin for the estimate."""


def make_plan(volume: Volume, request: TilingRequest, worker_memory: int, device_memory: int | None = None) -> TilePlan:
    """Cut a volume into tiles and blocks.

    Parameters
    ----------
    worker_memory
        Memory limit of one worker in bytes.
    device_memory
        Bytes that a worker may use of its GPU; None on a CPU, or where it is not known.

    Raises
    ------
    GeometryError
        The requested region, tile or shard is impossible; states a possible value.
    """
    roi, needs, dimensions = region_of_interest(volume, request.roi), request.needs, request.dimensions
    t, c, z, y, x = (b - a for a, b in roi)
    memory = WorkerMemory(worker_memory, device_memory)
    extent = (z, y, x)
    reachable = tuple(n + 2 * p for n, p in zip(volume.shape[2:], needs.pad, strict=True))
    automatic = _auto_core(request, extent, reachable, memory)
    core = per_axis(request.core, automatic, dimensions, 1)
    if request.shard is None and request.chunk is None:
        # not larger than the image, or shards would be too
        step = _CORE_STEP[dimensions]
        core = tuple(min(c, -(-n // step) * step) for c, n in zip(core, extent, strict=True))
    blend = _blend(request, core, extent)
    shard, chunk = _shard_and_chunk(request, core)
    origin = tuple(a for a, _ in roi[2:])
    available = Box(tuple(-o for o in origin), tuple(n - o for n, o in zip(volume.shape[2:], origin, strict=True)))
    plan = TilePlan(
        dimensions=dimensions,
        shape=(t, c, z, y, x),
        bounds=available,
        core=core,
        blend=blend,
        halo=needs.halo,
        pad=needs.pad,
        stride=needs.stride,
        shard=shard,
        chunk=chunk,
    )
    _refuse_many_tiles(plan)
    _refuse_small_patch(plan, needs)
    _refuse_small_image(plan, needs)
    _refuse_memory(plan, needs, memory)
    return plan


def region_of_interest(volume: Volume, roi: Mapping[Axis, tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return (start, stop) along t c z y x."""
    region = []
    for axis, n in zip(AXES, volume.shape, strict=True):
        start, stop = roi.get(axis, (0, n))
        if stop > n:
            raise GeometryError(f"input.roi.{axis} ends at {stop}, but the image has {n} along {axis}")
        region.append((start, stop))
        if axis == "c" and stop - start > _MOST_CHANNELS:
            raise GeometryError(
                f"the image has {stop - start} channels: expected at most {_MOST_CHANNELS}. Check that c is the "
                "channel axis (input.axes), or select channels with input.roi.c"
            )
    return tuple(region)


def _auto_core(request: TilingRequest, extent: Ints, reachable: Ints, memory: WorkerMemory) -> Ints:
    """Return the largest core that fits a worker's memory, balanced so that the last tile is not much smaller."""
    dimensions = request.dimensions
    step = _CORE_STEP[dimensions]
    side = _MAX_CORE[dimensions]
    while side > step and not _fits(request, _even(extent, side, step, dimensions), reachable, memory):
        side -= step
    return _even(extent, side, step, dimensions)


def _even(extent: Ints, side: int, step: int, dimensions: int) -> Ints:
    core = []
    for n in extent:
        # one tile a quarter larger is better than two that both read nearly everything
        tiles = max(1, math.ceil(n / side - 0.25))
        core.append(-(-n // (tiles * step)) * step)
    return tuple(core) if dimensions == 3 else (1, *core[1:])


def _fits(request: TilingRequest, automatic: Ints, reachable: Ints, memory: WorkerMemory) -> bool:
    core = per_axis(request.core, automatic, request.dimensions, 1)
    margin = (h + (_MAX_BLEND[request.dimensions] if h else 0) for h in request.needs.halo)
    domain = tuple(min(c + 2 * m, n) for c, m, n in zip(core, margin, reachable, strict=True))
    return request.needs.fits(domain, memory, _MEMORY_SHARE)


def _blend(request: TilingRequest, core: Ints, extent: Ints) -> Ints:
    """Return the blend margin: a sixth of the core if tiles are solved independently, 0 if they share one function."""
    most = _MAX_BLEND[request.dimensions] if request.needs.blended else 0
    blend = per_axis(request.blend, tuple(min(most, c // 6) for c in core), request.dimensions, 0)
    for axis, b, c in zip(SPATIAL, blend, core, strict=True):
        if 2 * b > c:
            raise GeometryError(f"tiling.blend is {b} along {axis}: expected at most half of the core, {c // 2}")
    return tuple(b if n > c else 0 for b, c, n in zip(blend, core, extent, strict=True))


def _shard_and_chunk(request: TilingRequest, core: Ints) -> tuple[Ints, Ints]:
    dimensions = request.dimensions
    chunk_default = tuple(_largest_divisor(c, _MAX_CHUNK[dimensions]) for c in core)
    if not request.sharded:
        # zarr v2 has no shards: the unit of writing is the chunk
        if request.shard is not None:
            raise GeometryError("output.shard needs ome_zarr '0.5': OME-Zarr 0.4 (zarr v2) has no shards; set chunk")
        chunk = per_axis(request.chunk, chunk_default, 3, 1)
        _refuse_indivisible("tiling.core", core, "output.chunk", chunk)
        return chunk, chunk
    shard = per_axis(request.shard, core, 3, 1)
    chunk_default = tuple(_largest_divisor(s, _MAX_CHUNK[dimensions]) for s in shard)
    chunk = per_axis(request.chunk, chunk_default, 3, 1)
    _refuse_indivisible("tiling.core", core, "output.shard", shard)
    _refuse_indivisible("output.shard", shard, "output.chunk", chunk)
    return shard, chunk


def _largest_divisor(n: int, limit: int) -> int:
    return next(d for d in range(min(n, limit), 0, -1) if n % d == 0)


def _refuse_indivisible(outer_name: str, outer: Ints, inner_name: str, inner: Ints) -> None:
    for axis, o, i in zip(SPATIAL, outer, inner, strict=True):
        if o % i:
            lower, upper = o // i * i, -(-o // i) * i
            nearest = f"{lower} or {upper}" if lower else f"{upper}"
            raise GeometryError(
                f"{outer_name} is {o} along {axis}, which is not a multiple of {inner_name} ({i}): "
                f"two tasks would write one file. Set {outer_name} to {nearest}, or {inner_name} to a divisor of {o}"
            )


def _refuse_many_tiles(plan: TilePlan) -> None:
    """Refuse an implausible number of tasks: an error in a size or in the metadata."""
    for name, grid in (("tiling.core", plan.tile_grid), ("output.shard", plan.block_grid)):
        if math.prod(grid) > _MOST_TASKS or max(grid) > _MOST_ALONG:
            raise GeometryError(
                f"{name} {_show(plan.core if name == 'tiling.core' else plan.shard)} divides {plan.shape} (t c z y x) "
                f"into {math.prod(grid)} pieces: expected at most {_MOST_TASKS}, and {_MOST_ALONG} along an axis. "
                f"Increase {name}, or select a region with input.roi"
            )


def _refuse_small_patch(plan: TilePlan, needs: TileNeeds) -> None:
    """Refuse training patches smaller than the PSF."""
    if needs.patch is None:
        return
    patch = needs.patch.cut(plan.domain_shape)
    for axis, size, radius in zip(SPATIAL, patch, plan.pad, strict=True):
        if size <= 2 * radius:
            raise GeometryError(
                f"the PSF spans {2 * radius + 1} pixels along {axis}, a training patch {size}: "
                f"increase training.patch to {3 * radius + 8} or more, or leave it out: it is then chosen by the PSF"
            )


def _refuse_small_image(plan: TilePlan, needs: TileNeeds) -> None:
    """Refuse images too small for a network's pooling."""
    least = needs.least_side
    for axis, size in list(zip(SPATIAL, plan.bounds.shape, strict=True))[3 - plan.dimensions :]:
        if size < least:
            raise GeometryError(
                f"the image has {size} pixels along {axis}, but the published network needs {least}: use solver: ssi"
            )


def _refuse_memory(plan: TilePlan, needs: TileNeeds, memory: WorkerMemory) -> None:
    domain = plan.domain_shape
    if needs.fits(domain, memory):
        return
    needed = needs.worker_bytes(domain) if memory.device is None else needs.host_bytes(domain)
    if needed > memory.host:
        raise GeometryError(
            f"a tile of core {_show(plan.core)} needs about {needed / 2**30:.1f} GiB per worker, but there are "
            f"{memory.host / 2**30:.1f} GiB: lower tiling.core, use fewer workers, or raise executor.memory_gib"
        )
    raise GeometryError(
        f"a tile of core {_show(plan.core)} needs about {needs.device_bytes(domain) / 2**30:.1f} GiB of a GPU, but "
        f"{(memory.device or 0) / 2**30:.1f} GiB are free for each worker: lower tiling.core or "
        "executor.workers_per_gpu, or free the GPU"
    )


def _show(zyx: Ints) -> str:
    return "{" + ", ".join(f"{axis}: {n}" for axis, n in zip(SPATIAL, zyx, strict=True)) + "}"
