"""Plan the tiles of a run: as large as fit a worker, and within the limit to which a PSF may change in a tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ssi_pipeline.config import RunConfig
from ssi_pipeline.executors.gpus.memory import free_for_worker
from ssi_pipeline.executors.machine import worker_count, worker_memory
from ssi_pipeline.geometry import TilePlan, Volume, make_plan
from ssi_pipeline.geometry.plan import region_of_interest
from ssi_pipeline.geometry.request import TilingRequest
from ssi_pipeline.geometry.volume import SPATIAL, SpatialAxis
from ssi_pipeline.needs import tiling_request
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.physics.psf_set import PsfSet
from ssi_pipeline.physics.psf_variation import (
    MOST,
    Variation,
    core_within_limit,
    refuse_large_variation,
    variation_within,
)

_SHORTENINGS = 4
"""Most times that tiles are made shorter: the first is nearly always enough."""


def request_for(config: RunConfig, psfs: Sequence[Psf | None]) -> TilingRequest:
    """Return what tiles need: the widest PSF counts, and the memory of all where they vary."""
    radius = tuple(max((psf.radius[axis] for psf in psfs if psf is not None), default=0) for axis in range(3))
    sets = [psf for psf in psfs if isinstance(psf, PsfSet)]
    varies = tuple(any(axis in psf.varying for psf in sets) for axis in range(3))
    return tiling_request(config, radius, sum(psf.nodes.nbytes for psf in sets), varies)


def planned_tiles(config: RunConfig, volume: Volume, psfs: Sequence[Psf | None], request: TilingRequest) -> TilePlan:
    """Plan the tiling: with tiles as large as fit, and shorter along the axes without a size where a PSF varies."""
    memory, free = worker_memory(config.executor), free_for_worker(config, worker_count(config.executor))
    sizes = {} if request.core is None else request.core
    plan = make_plan(volume, request, memory, free)
    if isinstance(sizes, int) or request.shard is not None or request.chunk is not None:
        return plan
    shortened = dict[SpatialAxis, int]()
    for _ in range(_SHORTENINGS):
        large = [v for v in _variations(config, volume, psfs, plan) if v.distance > MOST]
        axes = {SPATIAL[v.axis]: core_within_limit(v, plan.core) for v in large if SPATIAL[v.axis] not in sizes}
        if not axes:
            break
        shortened |= axes
        plan = make_plan(volume, replace(request, core={**sizes, **shortened}), memory, free)
    return plan


def _variations(config: RunConfig, volume: Volume, psfs: Sequence[Psf | None], plan: TilePlan) -> list[Variation]:
    """Return how far PSFs change within tiles, one for each PSF that does."""
    if not config.method.computes:
        return []
    origin = tuple(start for start, _ in region_of_interest(volume, config.input.roi)[2:])
    sets = dict.fromkeys(psf for psf in psfs if isinstance(psf, PsfSet))
    return [variation for psf in sets if (variation := variation_within(psf, plan, origin)) is not None]


def notes_on_tiles(config: RunConfig, volume: Volume, psfs: Sequence[Psf | None], plan: TilePlan) -> tuple[str, ...]:
    """Return how far PSFs change within tiles, and refuse tiles in which they change too much."""
    found = _variations(config, volume, psfs, plan)
    for variation in found:
        refuse_large_variation(variation, plan.core)
    return tuple(f"{variation}; it is solved with the one in its middle" for variation in found)
