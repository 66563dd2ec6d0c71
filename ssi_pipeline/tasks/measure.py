"""Read the measurement that a tile, or a sample, is solved from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ssi_pipeline.errors import CorruptDataError, InputError
from ssi_pipeline.geometry import Box
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.tasks.context import Context
from ssi_pipeline.tasks.reading import read_input
from ssi_pipeline.tasks.seeds import seed_for

_SAMPLE_SIDE = {2: (1, 256, 256), 3: (24, 96, 96)}


def read_measurement(
    context: Context, t: int, c: int, domain: Box, for_statistics: bool = False
) -> tuple[Measurement, int]:
    """Read a domain (z y x, positions of the output), filled by reflection outside the image.

    Returns the measurement and the number of NaN or infinite pixels, which carry no loss.

    Raises
    ------
    InputError
        There are such pixels and the configuration says ``nonfinite: fail``; not ``for_statistics``, which
        pass over them and must not stop tiles that have none.
    """
    inside = domain.intersect(context.plan.bounds)
    raw = read_input(context, t, c, inside)
    with np.errstate(over="ignore"):
        y = raw.astype(np.float32)
    finite = np.isfinite(y)
    too_large = int((np.isfinite(raw) & ~finite).sum())
    if too_large and not for_statistics:
        raise InputError(
            f"{too_large} pixels are beyond the range of float32 (3e38), in which is computed: rescale the input"
        )
    bad = int(finite.size - finite.sum())
    if bad and not for_statistics and context.document.config.input.nonfinite == "fail":
        raise InputError(f"{bad} pixels are NaN or infinite; set input.nonfinite: mask to restore them from the rest")
    if bad:
        y = _fill(y, finite)
    width = [(i - d, e - s) for d, i, s, e in zip(domain.start, inside.start, inside.stop, domain.stop, strict=True)]
    return Measurement(np.pad(y, width, mode="reflect"), np.pad(finite, width, constant_values=False)), bad


def _fill(y: NDArray[np.float32], finite: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Give pixels that are not finite the value of the nearest one that is; 0 where none is."""
    if not finite.any():
        return np.zeros_like(y)
    nearest = ndimage.distance_transform_edt(~finite, return_distances=False, return_indices=True)
    return np.asarray(y[tuple(nearest)], np.float32)


def sample_measurements(context: Context, c: int, count: int) -> list[Measurement]:
    """Read boxes of moderate size, spread at random over the time points and the volume of a channel."""
    return _readable(context, c, sample_places(context, c, count))


def sample_places(context: Context, c: int, count: int) -> list[tuple[int, Box]]:
    """Return t and box (z y x) of the samples of a channel."""
    plan = context.plan
    side = tuple(min(s, n) for s, n in zip(_SAMPLE_SIDE[plan.dimensions], plan.extent, strict=True))
    grid = (plan.shape[0], *(-(-n // s) for n, s in zip(plan.extent, side, strict=True)))
    rng = np.random.default_rng(seed_for(context.document.config.seed, "sample", c))
    cells = rng.choice(math.prod(grid), size=min(count, math.prod(grid)), replace=False)
    places = []
    for cell in sorted(int(cell) for cell in cells):
        t, *position = (int(p) for p in np.unravel_index(cell, grid))
        places.append((t, _sample_box(position, side, plan.extent)))
    return places


def _readable(context: Context, c: int, places: Sequence[tuple[int, Box]]) -> list[Measurement]:
    """Read what can be read: a damaged chunk costs its tiles, and not the whole channel.

    Raises
    ------
    CorruptDataError
        Nothing can be read; the first reason.
    """
    samples, problems = [], []
    for t, box in places:
        try:
            samples.append(read_measurement(context, t, c, box, for_statistics=True)[0])
        except CorruptDataError as problem:
            problems.append(problem)
    if not samples:
        raise problems[0]
    return samples


def _sample_box(position: list[int], side: Ints, extent: Ints) -> Box:
    """A cell of the sampling grid, moved inwards at the end so that all have the same shape."""
    start = tuple(min(p * s, n - s) for p, s, n in zip(position, side, extent, strict=True))
    return Box(start, tuple(a + s for a, s in zip(start, side, strict=True)))


def sample_tiles(context: Context, c: int, count: int) -> list[Measurement]:
    """Read the domains of tiles chosen at random from a channel, for a network that they share."""
    return _readable(context, c, training_places(context, c, count))


def training_places(context: Context, c: int, count: int) -> list[tuple[int, Box]]:
    """Return t and domain (z y x) of the tiles that the network of a channel is trained on."""
    grid = context.plan.tile_grid
    inner = math.prod(grid[2:])
    rng = np.random.default_rng(seed_for(context.document.config.seed, "train", c))
    chosen = rng.choice(grid[0] * inner, size=min(count, grid[0] * inner), replace=False)
    tiles = [context.plan.tile((int(i) // inner * grid[1] + c) * inner + int(i) % inner) for i in sorted(chosen)]
    return [(tile.t, tile.domain) for tile in tiles]
