"""Measure how far a PSF changes within a tile, and refuse tiles in which one PSF stands for too many."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from ssi_pipeline.errors import GeometryError
from ssi_pipeline.geometry import TilePlan
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.physics.psf import Position
from ssi_pipeline.physics.psf_set import PsfSet

MOST = 0.25
"""Largest relative distance, root of the sum of squares, of the PSF at a tile's edge from that in its middle: that of a
Gaussian PSF which is 18 % too wide in 2D, 13 % in 3D. A stack in 3D had 24.56 dB with tiles of 9 %, 24.55 with 26 %,
24.45 with 37 %, as with the best single PSF (docs/psf.md)."""

_ROUND = (64, 16, 4)
"""Cores are multiples of the first of these that is at most half of them."""


@dataclass(frozen=True, slots=True)
class Variation:
    """The largest relative distance of a PSF at the edge of a tile from that in its middle.

    ``axis``: 0 z, 1 y, 2 x, along which that is. ``start``, ``stop``: of that tile with its blend, pixels of the image.
    """

    distance: float
    axis: int
    start: int
    stop: int

    def __str__(self) -> str:
        """Return it in words."""
        return (
            f"the PSF changes within a tile by up to {self.distance:.0%} from the middle to the edge "
            f"({SPATIAL[self.axis]} {self.start} to {self.stop})"
        )


def variation_within(psf: PsfSet, plan: TilePlan, origin: Ints) -> Variation | None:
    """Return how far a PSF changes within a tile at the most; None where it does not.

    Parameters
    ----------
    psf
        The PSFs.
    plan
        Tiles of the region of interest.
    origin
        First pixel (z y x) of the region in the image.
    """
    found = [each for axis in psf.varying for each in _along(psf, plan, origin, axis)]
    return max((each for each in found if each.distance > 0), key=lambda each: each.distance, default=None)


def core_within_limit(found: Variation, core: Ints) -> int:
    """Return how long the core of tiles may be along the axis of a variation, pixels: a round number where it can."""
    enough = max(1, int(core[found.axis] * MOST / found.distance))
    step = next((step for step in _ROUND if enough >= 2 * step), 1)
    return enough // step * step


def refuse_large_variation(found: Variation, core: Ints) -> None:
    """Refuse tiles within which the PSF changes too much.

    Raises
    ------
    GeometryError
        Says how small tiles have to be.
    """
    if found.distance <= MOST:
        return
    axis = SPATIAL[found.axis]
    raise GeometryError(
        f"{found}, and a tile is solved with one PSF: expected at most {MOST:.0%}. Leave tiling.core out, or set it to "
        f"{{{axis}: {core_within_limit(found, core)}}} or less (now {core[found.axis]} along {axis})"
    )


def _along(psf: PsfSet, plan: TilePlan, origin: Ints, axis: int) -> list[Variation]:
    """Return the variation of each tile along an axis, at the nodes along the others."""
    others = [along if i != axis else (0.0,) for i, along in enumerate(psf.places)]
    first, core, blend, extent = origin[axis], plan.core[axis], plan.blend[axis], plan.extent[axis]
    found = []
    for start in range(0, extent, core):
        stop = min(start + core, extent)
        low, high = first + max(0, start - blend), first + min(extent, stop + blend)
        positions = (first + (start + stop) / 2, low + 0.5, high - 0.5)
        for place in product(*others):
            middle, *edges = (psf.at(_moved(place, axis, position)).values for position in positions)
            distance = max(float(np.linalg.norm(edge - middle)) for edge in edges) / float(np.linalg.norm(middle))
            found.append(Variation(distance, axis, low, high))
    return found


def _moved(place: tuple[float, ...], axis: int, position: float) -> Position:
    """Return a place with another position along an axis."""
    z, y, x = (position if i == axis else each for i, each in enumerate(place))
    return z, y, x
