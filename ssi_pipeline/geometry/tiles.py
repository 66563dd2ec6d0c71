"""Grids of tiles and blocks, by arithmetic: no list of a million tiles is created.

Positions are counted from the start of the region of interest, so that they are positions in the
output; readable positions extend beyond it (negative) if the input is larger.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ssi_pipeline.geometry.boxes import Box, Ints


@dataclass(frozen=True, slots=True)
class Tile:
    """One unit of solving, in one time point and one channel; boxes have axes z y x.

    ``core``: the cores partition the volume. ``valid``: where the result is kept. ``domain``: where
    the inverse is evaluated, aligned to the network's stride; it may stick out of the image, where it
    is filled by reflection. ``read``: the part of ``domain`` that the image has.
    """

    index: int
    t: int
    c: int
    core: Box
    valid: Box
    domain: Box
    read: Box


@dataclass(frozen=True, slots=True)
class Block:
    """One unit of writing: one output shard clipped to the volume, with its contributing tiles."""

    index: int
    t: int
    c: int
    write: Box
    tiles: tuple[int, ...]


@dataclass(frozen=True)
class TilePlan:
    """Tiling of a volume into tiles (solved) and blocks (written).

    ``shape``: t, c, z, y, x of the output. ``bounds``: the box (z y x) that can be read.
    ``core``, ``blend``, ``halo``, ``pad``, ``stride``, ``shard``, ``chunk``: z y x, pixels.
    """

    dimensions: int
    shape: tuple[int, int, int, int, int]
    bounds: Box
    core: Ints
    blend: Ints
    halo: Ints
    pad: Ints
    stride: Ints
    shard: Ints
    chunk: Ints

    @cached_property
    def extent(self) -> Ints:
        """Shape of the output along z y x."""
        return self.shape[2:]

    @cached_property
    def tile_grid(self) -> Ints:
        """Number of tiles along t c z y x."""
        return self.shape[:2] + _divide(self.extent, self.core)

    @cached_property
    def block_grid(self) -> Ints:
        """Number of blocks along t c z y x."""
        return self.shape[:2] + _divide(self.extent, self.shard)

    @cached_property
    def n_tiles(self) -> int:
        """Number of tiles."""
        return math.prod(self.tile_grid)

    @cached_property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return math.prod(self.block_grid)

    @cached_property
    def direct(self) -> bool:
        """Whether each block comes from a single tile, so that no scratch is needed."""
        no_blend = not any(self.blend)
        return no_blend and all(c % s == 0 for c, s in zip(self.core, self.shard, strict=True))

    @cached_property
    def frame(self) -> Box:
        """Largest domain: the readable box, padded by reflection and aligned to the stride."""
        return self.bounds.grow(self.pad).align_out(self.stride)

    @cached_property
    def domain_shape(self) -> Ints:
        """Largest shape of a tile's domain (z y x)."""
        reach = zip(self.core, self.blend, self.halo, self.stride, self.frame.shape, strict=True)
        return tuple(min(-(-(c + 2 * (b + h)) // s) * s + (s if s > 1 else 0), f) for c, b, h, s, f in reach)

    @cached_property
    def valid_shape(self) -> Ints:
        """Largest shape of a tile's valid box (z y x)."""
        return tuple(min(c + 2 * b, n) for c, b, n in zip(self.core, self.blend, self.extent, strict=True))

    def tile(self, index: int) -> Tile:
        """Return a tile by its index, which counts in the order t c z y x."""
        t, c, *position = _unravel(index, self.tile_grid)
        core = _cell(position, self.core, self.extent)
        valid = core.grow(self.blend).intersect(Box((0, 0, 0), self.extent))
        domain = self._domain(valid)
        return Tile(index, t, c, core, valid, domain, domain.intersect(self.bounds))

    def _domain(self, valid: Box) -> Box:
        """Return the valid box with halo, aligned; at the volume's edges it grows inwards to full size."""
        frame, size = self.frame, self.domain_shape
        wanted = valid.grow(self.halo).align_out(self.stride).intersect(frame)
        start = tuple(
            max(f, min(a, b - n)) for f, a, b, n in zip(frame.start, wanted.start, wanted.stop, size, strict=True)
        )
        stop = tuple(
            min(f, max(b, a + n)) for f, a, b, n in zip(frame.stop, wanted.start, wanted.stop, size, strict=True)
        )
        at_start = tuple(w == f for w, f in zip(wanted.start, frame.start, strict=True))
        at_stop = tuple(w == f for w, f in zip(wanted.stop, frame.stop, strict=True))
        return Box(
            tuple(s if edge else w for s, w, edge in zip(start, wanted.start, at_stop, strict=True)),
            tuple(s if edge else w for s, w, edge in zip(stop, wanted.stop, at_start, strict=True)),
        )

    def block(self, index: int) -> Block:
        """Return a block by its index, which counts in the order t c z y x."""
        t, c, *position = _unravel(index, self.block_grid)
        write = _cell(position, self.shard, self.extent)
        return Block(index, t, c, write, tuple(self._contributors(t, c, write)))

    def blocks_of(self, tile: Tile) -> Iterator[int]:
        """Yield the indices of the blocks to which a tile contributes."""
        ranges = _overlapping(tile.valid, self.shard, (0, 0, 0), self.block_grid[2:])
        for position in itertools.product(*ranges):
            yield _ravel((tile.t, tile.c, *position), self.block_grid)

    def _contributors(self, t: int, c: int, write: Box) -> Iterator[int]:
        ranges = _overlapping(write, self.core, self.blend, self.tile_grid[2:])
        for position in itertools.product(*ranges):
            yield _ravel((t, c, *position), self.tile_grid)


def _divide(extent: Ints, step: Ints) -> Ints:
    return tuple(-(-n // s) for n, s in zip(extent, step, strict=True))


def _cell(position: list[int], step: Ints, extent: Ints) -> Box:
    start = tuple(p * s for p, s in zip(position, step, strict=True))
    return Box(start, tuple(min(a + s, n) for a, s, n in zip(start, step, extent, strict=True)))


def _overlapping(box: Box, step: Ints, margin: Ints, grid: Ints) -> list[range]:
    """Return the ranges of cells that, enlarged by ``margin``, overlap ``box``."""
    return [
        range(max(0, (a - m) // s), min(n, (b - 1 + m) // s + 1))
        for a, b, s, m, n in zip(box.start, box.stop, step, margin, grid, strict=True)
    ]


def _unravel(index: int, grid: Ints) -> list[int]:
    if not 0 <= index < math.prod(grid):
        raise IndexError(f"index {index} is outside a grid of {math.prod(grid)}")
    position = []
    for n in reversed(grid):
        index, rest = divmod(index, n)
        position.append(rest)
    return position[::-1]


def _ravel(position: tuple[int, ...], grid: Ints) -> int:
    index = 0
    for p, n in zip(position, grid, strict=True):
        index = index * n + p
    return index
