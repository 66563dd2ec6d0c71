"""Blend overlapping tiles into one block by linear weights.

Along each axis the weight of a tile is 1 in its core and falls linearly to 0 across the overlap, which
reaches ``blend`` pixels to both sides of the border between two cores::

    weight of A  ────────╲            A's core ends at │
                          ╲
    weight of B            ╲────────  the two weights add up to 1
                       │<─2 blend─>│
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.geometry import Box, Tile
from ssi_pipeline.geometry.boxes import Ints


@dataclass(frozen=True, slots=True)
class Seam:
    """Difference between a tile and its neighbours inside one block.

    Attributes
    ----------
    tile
        Index of the tile.
    squares
        Sum of squared differences from the weighted mean of the other tiles, in squared units of the estimate.
    voxels
        Number of voxels in the sum.
    """

    tile: int
    squares: float
    voxels: int


def blend_block(
    write: Box, parts: Sequence[tuple[Tile, NDArray[np.float32]]], blend: Ints
) -> tuple[NDArray[np.float64], tuple[Seam, ...]]:
    """Return the weighted mean of the tiles that intersect a block, and their seams.

    Parameters
    ----------
    write
        The block (z y x).
    parts
        Each tile with its estimate on the intersection of ``tile.valid`` and ``write``, in the order
        of the tiles' indices, which fixes the order of summation.
    blend
        Half width of the overlap (z y x).

    Returns
    -------
    blended
        float64 (z y x), shape of ``write``. Sums in float64 make the blend of equal estimates exact in float32.
    seams
        One for every tile that overlaps another one.
    """
    total = np.zeros(write.shape)
    weights = np.zeros(write.shape)
    placed = []
    for tile, values in parts:
        inside = tile.valid.intersect(write)
        where = inside.relative_to(write.start).slices
        weight = _weight(tile, inside, blend)
        total[where] += weight * values
        weights[where] += weight
        placed.append((tile, where, weight, values))
    seams = tuple(
        seam for tile, where, weight, values in placed if (seam := _seam(tile, where, weight, values, total, weights))
    )
    return total / weights, seams


def _weight(tile: Tile, inside: Box, blend: Ints) -> NDArray[np.float64]:
    """Return the product of the ramps along z, y and x on ``inside``."""
    weight = np.ones(inside.shape)
    for axis, margin in enumerate(blend):
        position = np.arange(inside.start[axis], inside.stop[axis]) + 0.5
        ramp = np.ones_like(position)
        if tile.valid.start[axis] < tile.core.start[axis]:
            ramp = np.minimum(ramp, (position - tile.core.start[axis] + margin) / (2 * margin))
        if tile.valid.stop[axis] > tile.core.stop[axis]:
            ramp = np.minimum(ramp, (tile.core.stop[axis] + margin - position) / (2 * margin))
        shape = [1, 1, 1]
        shape[axis] = len(ramp)
        weight = weight * ramp.reshape(shape)
    return weight


def _seam(
    tile: Tile,
    where: tuple[slice, ...],
    weight: NDArray[np.float64],
    values: NDArray[np.float32],
    total: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> Seam | None:
    """Return the seam of one tile; None where it overlaps no other."""
    others = weights[where] - weight
    shared = others > 1e-9
    count = int(shared.sum())
    if count == 0:
        return None
    mean = (total[where][shared] - weight[shared] * values[shared]) / others[shared]
    return Seam(tile.index, float(np.sum((values[shared] - mean) ** 2)), count)
