"""Choose and read the tiles on which the shared network of a channel is trained."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import CorruptDataError
from ssi_pipeline.geometry import Box
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.storage.state.made_from import join_digests
from ssi_pipeline.tasks.context import Context
from ssi_pipeline.tasks.neighbours import tile_boxes, with_neighbours
from ssi_pipeline.tasks.pixels import Pixels, read_pixels
from ssi_pipeline.tasks.reading import noted_reads
from ssi_pipeline.tasks.seeds import seed_for

_MOST_TILES = 1000
"""Most tiles read where none has an observed pixel: data in one of a hundred are then found."""

_MORE = 20
"""Most tiles read for each one to train on, where some are observed."""

_ENOUGH = 0.05
"""Content of a tile that need not be replaced. Blank tiles teach nothing: in a volume with content in one of ten tiles,
random ones would be 14 blank ones of 16."""

_COMMON = 99
"""Percentile of the differences of neighbours up to which they count as noise: impulses and beads are above it."""

_SIDE, _DEVIATIONS = 4, 4.0
"""Side of the blocks whose means are compared, and the difference in standard deviations of their noise."""

Place = tuple[int, Box]


def sample_tiles(context: Context, c: int, count: int, fill: Mapping[str, Any] | None = None) -> list[Measurement]:
    """Read the domains of random tiles of a channel.

    Others take the place of tiles without an observed pixel or with hardly any content, as far as there are any.

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
    chosen: list[_Candidate] = []
    for t, domain in first:
        try:
            chosen.append(_candidate(read_pixels(context, t, c, domain, for_statistics=True, fill=fill), t, domain))
        except CorruptDataError as problem:
            problems.append(problem)
    if not chosen:
        raise problems[0]
    count, others = len(chosen), _others(context, c, first)
    for looked in range(_MOST_TILES):
        seen = max(tile.content for tile in chosen) >= 0
        if min(tile.content for tile in chosen) >= _ENOUGH or (seen and looked >= _MORE * count):
            break
        if (place := next(others, None)) is None:
            break
        with contextlib.suppress(CorruptDataError):
            pixels = read_pixels(context, place[0], c, place[1], for_statistics=True, fill=fill)
            chosen = sorted([*chosen, _candidate(pixels, *place)], key=lambda tile: -tile.content)[:count]
    used = [tile for tile in chosen if tile.content >= 0] or chosen
    return [
        with_neighbours(context, tile.t, c, tile.domain, tile.pixels.measurement(tile.domain), fill) for tile in used
    ]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A tile with its content, -1 if no pixel is observed."""

    pixels: Pixels
    t: int
    domain: Box
    content: float


def _candidate(pixels: Pixels, t: int, domain: Box) -> _Candidate:
    return _Candidate(pixels, t, domain, -1.0 if pixels.unseen.all() else content_share(pixels.raw, ~pixels.unseen))


def content_share(raw: NDArray[np.float32], seen: NDArray[np.bool_]) -> float:
    """Return the share of blocks of 4 x 4 pixels that differ from the median by more than noise does.

    The noise is taken from the differences of neighbours along x, so that the tile needs no calibration.
    """
    y = np.where(seen, raw, np.median(raw[seen])).astype(np.float64)
    y = y[:, : y.shape[1] // _SIDE * _SIDE, : y.shape[2] // _SIDE * _SIDE]
    if not y.size:
        return 0.0
    blocks = y.reshape(y.shape[0], y.shape[1] // _SIDE, _SIDE, y.shape[2] // _SIDE, _SIDE).mean((2, 4))
    steps = np.square(np.diff(y, axis=2))
    noise = math.sqrt(steps[steps <= np.percentile(steps, _COMMON)].mean() / 2) / _SIDE
    return float(np.mean(np.abs(blocks - np.median(blocks)) > _DEVIATIONS * noise))


def training_boxes(context: Context, c: int, count: int, most: int) -> list[Place]:
    """Return t and box (z y x) of all that ``sample_tiles`` reads; of the tiles that may replace others ``most``."""
    first = training_places(context, c, count)
    places = [*first, *itertools.islice(_others(context, c, first), most)]
    return [box for place in places for box in tile_boxes(context, *place)]


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
