"""Choose and read the tiles on which the shared network of a channel is trained."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ssi_pipeline.errors import CorruptDataError
from ssi_pipeline.geometry import Box
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.storage.state.made_from import join_digests
from ssi_pipeline.tasks.context import Context
from ssi_pipeline.tasks.neighbours import with_neighbours
from ssi_pipeline.tasks.pixels import Pixels, read_pixels
from ssi_pipeline.tasks.reading import noted_reads
from ssi_pipeline.tasks.seeds import seed_for

_MOST_TILES = 1000
"""Most tiles read in place of those without an observed pixel: data in one of a hundred are then found."""

Place = tuple[int, Box]


def sample_tiles(context: Context, c: int, count: int, fill: Mapping[str, Any] | None = None) -> list[Measurement]:
    """Read the domains of random tiles of a channel.

    Others take the place of tiles without an observed pixel, as far as there are any.

    Parameters
    ----------
    context
        The run.
    c
        Channel of the output.
    count
        Number of tiles.
    fill
        Fill of the channel, if not that of the calibration.

    Raises
    ------
    CorruptDataError
        No tile can be read; the first error.
    """
    first, problems = training_places(context, c, count), []
    found: list[tuple[Pixels, int, Box]] = []
    for t, domain in first:
        try:
            found.append((read_pixels(context, t, c, domain, for_statistics=True, fill=fill), t, domain))
        except CorruptDataError as problem:
            problems.append(problem)
    if not found:
        raise problems[0]
    seen = [item for item in found if not item[0].unseen.all()]
    others = _others(context, c, first) if len(seen) < len(found) else iter(())
    for t, domain in itertools.islice(others, _MOST_TILES):
        with contextlib.suppress(CorruptDataError):
            pixels = read_pixels(context, t, c, domain, for_statistics=True, fill=fill)
            seen += [] if pixels.unseen.all() else [(pixels, t, domain)]
        if len(seen) == len(found):
            break
    return [
        with_neighbours(context, t, c, domain, pixels.measurement(domain), fill) for pixels, t, domain in seen or found
    ]


def training_source(context: Context, c: int, fill: Mapping[str, Any]) -> str:
    """Return the digest of the current input that the training of a channel would record."""
    with noted_reads() as digests, contextlib.suppress(CorruptDataError):
        sample_tiles(context, c, context.document.config.training.shared_tiles, fill)
    return join_digests(digests)


def training_places(context: Context, c: int, count: int) -> list[Place]:
    """Return t and domain (z y x) of the training tiles of a channel's shared network."""
    rng = np.random.default_rng(seed_for(context.document.config.seed, "train", c))
    tiles = _tiles_of_channel(context)
    return [_place(context, c, int(i)) for i in sorted(rng.choice(tiles, size=min(count, tiles), replace=False))]


def _others(context: Context, c: int, first: list[Place]) -> Iterator[Place]:
    """Yield the other tiles of a channel in random order."""
    rng = np.random.default_rng(seed_for(context.document.config.seed, "train others", c))
    tiles = _tiles_of_channel(context)
    for i in rng.choice(tiles, size=min(_MOST_TILES + len(first), tiles), replace=False):
        if (place := _place(context, c, int(i))) not in first:
            yield place


def _tiles_of_channel(context: Context) -> int:
    grid = context.plan.tile_grid
    return grid[0] * math.prod(grid[2:])


def _place(context: Context, c: int, i: int) -> Place:
    """Return t and domain of the i-th tile of a channel."""
    grid = context.plan.tile_grid
    inner = math.prod(grid[2:])
    tile = context.plan.tile((i // inner * grid[1] + c) * inner + i % inner)
    return tile.t, tile.domain
