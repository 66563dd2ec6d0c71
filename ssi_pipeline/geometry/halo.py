"""How far the result at one voxel depends on the measurement: arithmetic, checked against torch by a test.

One axis of one tile::

    hhhh|bb|cccccccccc|bb|hhhh      h halo: the PSF and the network need it; its result is thrown away
    └───────── read ─────────┘      b blend margin: result kept, its weight ramps from 1 to 0
        └─── valid ────┘            c core: the cores partition the volume
           └─ core ─┘
"""

from __future__ import annotations

from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.methods import PUBLISHED_POOLINGS

REPAIR_RADIUS = 2
"""Impulses are found in a 5 x 5 window , whose median a single one cannot move."""

UNBIAS_RADIUS = 6
"""Of the mean in the plane y x that tells how far a clipping sensor is off."""

_WIENER_REACH = 3
"""Radius of the truncated Wiener kernel in PSF radii; beyond it the kernel of a regularised inverse is small."""

_WIENER_LIMITS = (8, 32)


def network_stride(levels: int) -> int:
    """Shifts by multiples of this many pixels commute with the network (its total pooling factor)."""
    return int(2 ** (levels - 1))


def network_radius(levels: int) -> int:
    """Pixels from an output to the furthest input that it depends on.

    A UNet level l has two 3-convolutions on the way down and two on the way up, each reaching
    2^l pixels; the deepest level has two; and a pixel sees all of the pooling cells it touches.
    """
    deepest = levels - 1
    sides = sum(4 * 2**level for level in range(deepest))
    return int(sides + 2 * 2**deepest + 2**deepest - 1)


def published_radius() -> int:
    """Return the same for the published UNet, with a 5- and a 3-convolution a block: 3 * 2^l pixels each."""
    deepest = PUBLISHED_POOLINGS
    sides = sum(6 * 2**level for level in range(deepest))
    return int(sides + 3 * 2**deepest + 2**deepest - 1)


def wiener_radius(psf_radius: Ints) -> Ints:
    """Radius of the truncated Wiener kernel along each axis; 0 where the PSF has no extent.

    Without any blur the filter is a smoothing one, along every axis.
    """
    low, high = _WIENER_LIMITS
    if not any(psf_radius):
        return tuple(low for _ in psf_radius)
    return tuple(0 if r == 0 else min(max(_WIENER_REACH * r, low), max(high, r)) for r in psf_radius)
