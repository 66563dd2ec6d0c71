"""Levels of a multiscale pyramid and their blocks, by arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ssi_pipeline.geometry.boxes import Box, Ints
from ssi_pipeline.geometry.tiles import TilePlan

_SMALLEST = 256
"""Longest side of the coarsest level: viewers show it as a whole."""


@dataclass(frozen=True, slots=True)
class PyramidBlock:
    """One shard of one level; ``write`` (z y x) in that level, ``read`` in the level before."""

    level: int
    t: int
    c: int
    write: Box
    read: Box
    factor: Ints


@dataclass(frozen=True, slots=True)
class PyramidPlan:
    """Levels 1, 2, ... below full resolution; each halves y and x, and z if it is as fine.

    ``shapes`` and ``factors`` (z y x) include level 0, whose factors are 1.
    """

    planes: tuple[int, int]
    shapes: tuple[Ints, ...]
    factors: tuple[Ints, ...]
    shard: Ints

    @property
    def n_levels(self) -> int:
        """Number of levels, the full resolution included."""
        return len(self.shapes)

    def n_blocks(self, level: int) -> int:
        """Number of blocks of one level."""
        return math.prod(self.grid(level))

    @property
    def total_blocks(self) -> int:
        """Number of blocks of all levels below the full resolution."""
        return sum(self.n_blocks(level) for level in range(1, self.n_levels))

    def indices(self, level: int) -> range:
        """Return the indices of a level's blocks, numbered consecutively over levels."""
        first = sum(self.n_blocks(k) for k in range(1, level))
        return range(first, first + self.n_blocks(level))

    def block(self, index: int) -> PyramidBlock:
        """Return a block by its index."""
        level = next(k for k in range(1, self.n_levels) if index in self.indices(k))
        rest = index - self.indices(level).start
        position = []
        for n in reversed(self.grid(level)):
            rest, p = divmod(rest, n)
            position.append(p)
        x, y, z, c, t = position
        shape, finer = self.shapes[level], self.shapes[level - 1]
        start = tuple(p * s for p, s in zip((z, y, x), self.shard, strict=True))
        write = Box(start, tuple(min(a + s, n) for a, s, n in zip(start, self.shard, shape, strict=True)))
        factor = tuple(b // a for a, b in zip(self.factors[level - 1], self.factors[level], strict=True))
        read = Box(
            tuple(a * f for a, f in zip(write.start, factor, strict=True)),
            tuple(min(b * f, n) for b, f, n in zip(write.stop, factor, finer, strict=True)),
        )
        return PyramidBlock(level, t, c, write, read, factor)

    def above(self, t: int, c: int, start: Ints) -> list[int]:
        """Return the blocks, one per coarser level, that contain a block of full resolution.

        ``start``: first voxel (z y x) of the block at full resolution.
        """
        indices = []
        for level in range(1, self.n_levels):
            cell = (a // (f * s) for a, f, s in zip(start, self.factors[level], self.shard, strict=True))
            index = 0
            for p, n in zip((t, c, *cell), self.grid(level), strict=True):
                index = index * n + p
            indices.append(self.indices(level).start + index)
        return indices

    def grid(self, level: int) -> Ints:
        """Return the number of blocks of one level along t c z y x."""
        return (*self.planes, *(-(-n // s) for n, s in zip(self.shapes[level], self.shard, strict=True)))


def plan_pyramid(plan: TilePlan, voxel_size_um: tuple[float, float, float] | None, wanted: bool) -> PyramidPlan:
    """Return the levels of an output; with ``wanted`` false, full resolution only."""
    shapes, factors = [plan.extent], [(1, 1, 1)]
    while wanted and max(shapes[-1][1:]) > _SMALLEST:
        z, y, x = factors[-1]
        fine_z = voxel_size_um is not None and voxel_size_um[0] * z <= max(voxel_size_um[1] * y, voxel_size_um[2] * x)
        factor = (2 if fine_z and shapes[-1][0] > 1 else 1, 2, 2)
        shapes.append(tuple(-(-n // f) for n, f in zip(shapes[-1], factor, strict=True)))
        factors.append((z * factor[0], y * factor[1], x * factor[2]))
    return PyramidPlan(plan.shape[:2], tuple(shapes), tuple(factors), plan.shard)
