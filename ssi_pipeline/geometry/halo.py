"""Halo: the input region that one output voxel depends on; arithmetic, checked against torch by a test.

One axis of one tile::

    hhhh|bb|cccccccccc|bb|hhhh      h halo: context for PSF and network; its result is discarded
    └───────── read ─────────┘      b blend margin: result kept, its weight ramps from 1 to 0
        └─── valid ────┘            c core: the cores partition the volume
           └─ core ─┘
"""

from __future__ import annotations

from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.methods import PUBLISHED_POOLINGS

REPAIR_RADIUS = 2
"""Radius of impulse detection: a 5 x 5 window, whose median is robust to a single impulse."""

UNBIAS_RADIUS = 6
"""Radius of the local mean (y x) that estimates the bias of a clipping sensor."""

_WIENER_REACH = 3
"""Radius of the truncated Wiener kernel in PSF radii; beyond it the regularised inverse is negligible."""

_WIENER_LIMITS = (8, 32)


def network_stride(levels: int) -> int:
    """Return the total pooling factor: shifts by its multiples commute with the network."""
    return int(2 ** (levels - 1))


def network_radius(levels: int) -> int:
    """Return the radius of the network's receptive field in pixels.

    A U-Net level l has two 3-convolutions in the encoder and two in the decoder, each adding
    2^l pixels; the deepest level has two; pooling adds the cells that a pixel belongs to.
    """
    deepest = levels - 1
    sides = sum(4 * 2**level for level in range(deepest))
    return int(sides + 2 * 2**deepest + 2**deepest - 1)


def published_radius() -> int:
    """Return the radius of the published U-Net, with a 5- and a 3-convolution per block: 3 * 2^l pixels each."""
    deepest = PUBLISHED_POOLINGS
    sides = sum(6 * 2**level for level in range(deepest))
    return int(sides + 3 * 2**deepest + 2**deepest - 1)


def wiener_radius(psf_radius: Ints) -> Ints:
    """Return the radius of the truncated Wiener kernel along each axis; 0 if the PSF has no extent.

    Without any blur the filter smooths along every axis.
    """
    low, high = _WIENER_LIMITS
    if not any(psf_radius):
        return tuple(low for _ in psf_radius)
    return tuple(0 if r == 0 else min(max(_WIENER_REACH * r, low), max(high, r)) for r in psf_radius)
