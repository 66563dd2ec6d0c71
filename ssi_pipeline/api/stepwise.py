"""Deconvolve an image in memory step by step, for programs that show progress and let their users stop; one tile."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.api.deconvolve import arranged, opened
from ssi_pipeline.api.in_memory import prepared_channel, settled, solved_tile, solving, threads_kept
from ssi_pipeline.api.psfs import PsfArgument
from ssi_pipeline.geometry.volume import AXES
from ssi_pipeline.psf import Lengths
from ssi_pipeline.storage.inputs.array_source import ArraySource
from ssi_pipeline.tasks.array_context import ArrayContext
from ssi_pipeline.tasks.write_block import as_written

Steps = tuple[int, int]
"""Number of tiles solved, and of all tiles."""


@dataclass(frozen=True, slots=True)
class SolvedPart:
    """One tile of an image.

    Attributes
    ----------
    image
        Its estimate on the tile's core, with the axes of the image; not blended with its neighbours.
    start
        Position of its first pixel, by axis.
    metrics
        Of the tile, by name.
    """

    image: NDArray[Any]
    start: Mapping[str, int]
    metrics: Mapping[str, Any]


def deconvolving(
    image: NDArray[Any],
    psf: PsfArgument,
    *,
    axes: str,
    voxel_size_um: Lengths | None = None,
    solver: str = "ssi",
    **options: Any,
) -> Generator[Steps, None, NDArray[Any]]:
    """Do what ``deconvolve`` does with a numpy array, and yield after each tile; closing it stops.

    Raises
    ------
    ConfigError, InputError, GeometryError
        An option, the image or the PSF is not valid.
    """
    _, context, _ = opened(image, psf, axes, voxel_size_um, {"solver": solver}, options)
    whole, _ = yield from solving(context)
    return arranged(whole[0], _source(context).axes.names, image.shape)


def deconvolve_tile(
    image: NDArray[Any],
    psf: PsfArgument,
    place: Mapping[str, float],
    *,
    axes: str,
    voxel_size_um: Lengths | None = None,
    solver: str = "ssi",
    **options: Any,
) -> SolvedPart:
    """Solve the tile around a place of a numpy array as ``deconvolve`` would, calibrated on the whole of its channel.

    ``place``: a position in pixels by axis; beyond the image the nearest one counts, an axis left out is in the middle.

    Raises
    ------
    ConfigError, InputError, GeometryError
        An option, the image or the PSF is not valid.
    """
    _, context, _ = opened(image, psf, axes, voxel_size_um, {"solver": solver}, options)
    plan = context.plan
    where = [int(np.clip(place.get(axis, n // 2), 0, n - 1)) for axis, n in zip(AXES, plan.shape, strict=True)]
    grid = [min(p // s, n - 1) for p, s, n in zip(where, (1, 1, *plan.core), plan.tile_grid, strict=True)]
    tile = plan.tile(int(np.ravel_multi_index(grid, plan.tile_grid)))
    with threads_kept():
        context = settled(context)
        channel = prepared_channel(context, tile.c)
        context = replace(context, channels=(channel,) * plan.shape[1])
        found = solved_tile(context, tile.index)
    core = found.layers[(slice(None), *tile.core.relative_to(tile.valid.start).slices)]
    estimate = as_written(context, list(core))[0][None, None]
    names = _source(context).axes.names
    sizes: dict[str, int] = dict(zip(AXES, estimate.shape, strict=True))
    start: dict[str, int] = dict(zip(AXES, (tile.t, tile.c, *tile.core.start), strict=True))
    shape = tuple(sizes[axis] for axis in names)
    return SolvedPart(arranged(estimate, names, shape), {axis: start[axis] for axis in names}, found.quality)


def _source(context: ArrayContext) -> ArraySource:
    assert isinstance(context.image, ArraySource)
    return context.image
