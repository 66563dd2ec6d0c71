"""How far the result at one voxel depends on the measurement: arithmetic, checked against torch by a test.

One axis of one tile::

    hhhh|bb|cccccccccc|bb|hhhh      h halo: the PSF and the network need it; its result is thrown away
    └───────── read ─────────┘      b blend margin: result kept, its weight ramps from 1 to 0
        └─── valid ────┘            c core: the cores partition the volume
           └─ core ─┘
"""

from __future__ import annotations

from ssi_pipeline.config import NetworkConfig, RunConfig
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.methods import PUBLISHED_POOLINGS

REPAIR_RADIUS = 2
"""Impulses are found in a 5 x 5 window , whose median a single one cannot move."""

UNBIAS_RADIUS = 6
"""Of the mean in the plane y x that tells how far a clipping sensor is off."""

_WIENER_REACH = 3
"""Radius of the truncated Wiener kernel in PSF radii; beyond it the kernel of a regularised inverse is small."""

_WIENER_LIMITS = (8, 32)


def network_stride(network: NetworkConfig) -> int:
    """Shifts by multiples of this many pixels commute with the network (its total pooling factor)."""
    return int(2 ** (network.levels - 1)) if network.kind == "unet" else 1


def network_radius(network: NetworkConfig) -> int:
    """Pixels from an output to the furthest input that it depends on.

    A UNet level l has two 3-convolutions on the way down and two on the way up, each reaching
    2^l pixels; the deepest level has two; and a pixel sees all of the pooling cells it touches.
    """
    if network.kind == "conv":
        return network.depth
    deepest = network.levels - 1
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


def _iterative_reach(config: RunConfig, psf_radius: Ints) -> Ints:
    """Distance over which an iterative solver's dependence on the measurement fades; exact where that is less.

    The first iterates of Richardson-Lucy reach two PSF radii each. All converge towards an inverse whose
    kernel is no wider than the Wiener filter's, from where those of total variation start. Measured on tiles
    cut at this halo: docs/classical.md, Tiles.
    """
    wiener, count = wiener_radius(psf_radius), config.classical.iterations
    if not config.method.counts or count == "auto":
        return wiener
    return tuple(min(2 * r * count, w) for r, w in zip(psf_radius, wiener, strict=True))


def _repair_reach(config: RunConfig) -> Ints:
    """Pixels z y x over which impulses are found and, where the sensor may clip, its bias is undone: in the plane."""
    clips = config.sensor.kind == "auto" and not config.method.knows_sensor
    in_plane = REPAIR_RADIUS + (UNBIAS_RADIUS if clips else 0)
    return 0, in_plane, in_plane


def required_halo(config: RunConfig, psf_radius: Ints) -> Ints:
    """Smallest halo (z y x) for which a tile's core equals the same inverse on the whole volume.

    The inverse repairs impulses, undoes the sensor's bias, applies the Wiener kernel, then the network. The
    PSF itself is needed in training, where the loss on the core reads f one PSF radius around it. Solvers that
    iterate depend on ever further pixels, ever less: for them it is the smallest halo that is worth its reading.
    """
    spatial = (config.tiling.dimensions == 3, True, True)
    return tuple(r if on else 0 for r, on in zip(_reach(config, psf_radius), spatial, strict=True))


def _reach(config: RunConfig, psf_radius: Ints) -> Ints:
    wiener, repair = wiener_radius(psf_radius), _repair_reach(config)
    match config.method.reach:
        case "nothing":
            return (0, 0, 0)
        case "wiener":
            return tuple(w + r for w, r in zip(wiener, repair, strict=True))
        case "iterates":
            # along z, where nothing is repaired, two pixels more: without them stacks are off by half as much again
            further = (max(r, REPAIR_RADIUS) for r in repair)
            return tuple(w + r for w, r in zip(_iterative_reach(config, psf_radius), further, strict=True))
        case "published":
            return tuple(max(published_radius(), r + 1) for r in psf_radius)
        case "network":
            net = network_radius(config.network)
            linear = wiener if config.network.wiener_input else psf_radius
            widest = (max(net + w, r) for w, r in zip(linear, psf_radius, strict=True))
            return tuple(w + r for w, r in zip(widest, repair, strict=True))
