"""Derive the numbers that the geometry takes from the configuration, the solver's row and the radius of the PSF."""

from __future__ import annotations

from dataclasses import replace

from ssi_pipeline.config import RunConfig
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.geometry.cost import OutputSizes
from ssi_pipeline.geometry.halo import (
    REPAIR_RADIUS,
    UNBIAS_RADIUS,
    network_radius,
    network_stride,
    published_radius,
    wiener_radius,
)
from ssi_pipeline.geometry.request import PatchNeeds, TileNeeds, TilingRequest
from ssi_pipeline.geometry.volume import Volume, per_axis

_FLOAT = 4
_TILE_FLOATS = 16
"""Floats per voxel of a domain: the tile as read, normalised, masked, solved and scored."""

_NEIGHBOUR_FLOATS = 4
"""Floats per voxel for each neighbouring plane: as read, normalised, repaired, and in the input of f."""

_AHEAD_FLOATS = 5
"""Floats per voxel of the tile that is read ahead (as read, converted, its masks) and of the estimate being written."""

_AHEAD_NEIGHBOUR_FLOATS = 1

_SCORE_FLOATS = 15
"""Further floats per voxel for the extended metrics, beside the estimate (measured in 3D: wiener 218 bytes in place of
159, tv_cg 269 in place of 217). A network's activations are gone by then, and were more."""

_WINDOW_FLOATS = 12
"""Further floats per voxel on a GPU, where the impulse test holds the 25 values of all windows at once. With them the
plan is above what tensors take on a pretended GPU, by a few per cent at the least (tests/device)."""

_ACTIVATIONS = 7
"""Floats per voxel and channel of the first level in a pass without gradients, deeper levels included. Measured, with
the next: 341, 444, 674 and 897 bytes a pixel for 4, 8, 16 and 24 channels on 1024 x 1024."""

_JUDGED_FLOATS = 18
"""Further floats per voxel where a network is used, on the CPU: its estimate beside the rival's, and their scores."""

_DEVICE_ACTIVATIONS = 9
"""The same on a GPU, where images are stacked to be seen together (measured on a pretended GPU: 8)."""

_PATCH = {2: (1, 128, 128), 3: (24, 64, 64)}
"""Default training patch; larger where the PSF is."""

_PATCH_MARGIN = 8
"""Pixels beyond three PSF radii in a default patch: a third of it, and these, carry loss."""


def tiling_request(
    config: RunConfig, psf_radius: Ints, psf_bytes: int = 0, psf_varies: tuple[bool, ...] = (False, False, False)
) -> TilingRequest:
    """Return the tiling request of a configuration.

    Parameters
    ----------
    config
        The configuration.
    psf_radius
        Pixels (z y x), the largest of all channels.
    psf_bytes
        Of all PSFs that vary: a worker holds all of a set.
    psf_varies
        Whether a PSF varies along z y x: tiles with different PSFs are blended, whatever the solver.
    """
    tiling, output, needs = config.tiling, config.output, tile_needs(config, psf_radius)
    differ = config.method.computes and any(a and b for a, b in zip(psf_varies, _spatial(config), strict=True))
    return TilingRequest(
        dimensions=tiling.dimensions,
        needs=replace(needs, fixed_bytes=psf_bytes, blended=needs.blended or differ),
        roi=config.input.roi,
        core=tiling.core,
        blend=tiling.blend,
        shard=output.shard,
        chunk=output.chunk,
        sharded=output.ome_zarr != "0.4",
    )


def tile_needs(config: RunConfig, psf_radius: Ints) -> TileNeeds:
    """Return halo, stride, blending and memory that the configured solver needs of a tile."""
    method, spatial = config.method, _spatial(config)
    one = config.training.scope == "shared" and config.training.select == "network"  # the same function everywhere
    own = method.blend == "own networks" and not one
    count = len(config.network.neighbours)
    ahead = _AHEAD_FLOATS + _AHEAD_NEIGHBOUR_FLOATS * count
    tile = _TILE_FLOATS + _NEIGHBOUR_FLOATS * count
    if config.quality.extended and method.computes and not method.network:
        tile += _SCORE_FLOATS
    return TileNeeds(
        halo=required_halo(config, psf_radius),
        pad=tuple(r if on and method.computes else 0 for r, on in zip(psf_radius, spatial, strict=True)),
        stride=_stride(config) if method.network else (1, 1, 1),
        blended=method.blend == "always" or own,
        least_side=method.least_side,
        bytes_per_voxel=(tile + method.floats + ahead + (_JUDGED_FLOATS if method.network else 0)) * _FLOAT,
        host_bytes_per_voxel=(tile + ahead) * _FLOAT,
        device_bytes_per_voxel=(tile + method.floats + _WINDOW_FLOATS) * _FLOAT,
        patch=patch_needs(config, psf_radius) if method.network else None,
        neighbours=config.network.neighbours,
    )


def patch_needs(config: RunConfig, psf_radius: Ints) -> PatchNeeds:
    """Return the training patch, in multiples of the network's stride: as configured, or large enough for the PSF.

    ``psf_radius``: pixels (z y x), the largest of all channels.
    """
    dimensions = config.tiling.dimensions
    enough = (max(p, 3 * r + _PATCH_MARGIN) for p, r in zip(_PATCH[dimensions], psf_radius, strict=True))
    asked = per_axis(config.training.patch, tuple(enough), dimensions, 1)
    shape = tuple(-(-p // s) * s for p, s in zip(asked, _stride(config), strict=True))
    return PatchNeeds(
        shape,
        config.training.batch,
        *(config.network.features(dimensions) * each * _FLOAT for each in (_ACTIVATIONS, _DEVICE_ACTIVATIONS)),
    )


def required_halo(config: RunConfig, psf_radius: Ints) -> Ints:
    """Return the smallest halo (z y x, pixels) for which a tile's core equals the same inverse on the whole volume.

    The inverse repairs impulses, corrects the bias of clipping, applies the Wiener kernel, then the network. The
    PSF itself is needed in training, where the loss on the core reads f one PSF radius around it. The dependence of
    iterative solvers, and of the network's correction by the data, decays with distance; for them it is the halo beyond
    which the gain is negligible.
    """
    return tuple(r if on else 0 for r, on in zip(_reach(config, psf_radius), _spatial(config), strict=True))


def output_sizes(config: RunConfig, volume: Volume) -> OutputSizes:
    """Return the bytes and arrays written per voxel."""
    return OutputSizes(
        itemsize=volume.itemsize if config.output.dtype == "input" else _FLOAT,
        uncertainty=config.output.uncertainty > 0,
        pyramid=config.output.pyramid,
        keeps_scratch=config.output.keep_scratch or config.training.retrain,
    )


def _spatial(config: RunConfig) -> tuple[bool, bool, bool]:
    """Return whether tiles span z, y and x."""
    return config.tiling.dimensions == 3, True, True


def _stride(config: RunConfig) -> Ints:
    return tuple(network_stride(config.network.levels) if on else 1 for on in _spatial(config))


def _reach(config: RunConfig, psf_radius: Ints) -> Ints:
    wiener, repair = wiener_radius(psf_radius), _repair_reach(config)
    match config.method.reach:
        case "nothing":
            return (0, 0, 0)
        case "wiener":
            return tuple(w + r for w, r in zip(wiener, repair, strict=True))
        case "iterates":
            # two more pixels along z, where nothing is repaired: without them the error of stacks grows by half
            further = (max(r, REPAIR_RADIUS) for r in repair)
            return tuple(w + r for w, r in zip(_iterative_reach(config, psf_radius), further, strict=True))
        case "published":
            return tuple(max(published_radius(), r + 1) for r in psf_radius)
        case "network":
            net = network_radius(config.network.levels)
            widest = (max(net + w, r) for w, r in zip(wiener, psf_radius, strict=True))
            return tuple(w + r for w, r in zip(widest, repair, strict=True))


def _iterative_reach(config: RunConfig, psf_radius: Ints) -> Ints:
    """Return the distance in pixels (z y x) over which an iterative solver's dependence on the measurement decays.

    It is exact for few iterations of Richardson-Lucy, each of which reaches two PSF radii. All solvers converge
    towards an inverse whose kernel is no wider than the Wiener filter's, where those of total variation start. The
    error of tiles cut at this halo is in docs/classical.md, Tiles.
    """
    wiener, count = wiener_radius(psf_radius), config.classical.iterations
    if not config.method.counts or count == "auto":
        return wiener
    return tuple(min(2 * r * count, w) for r, w in zip(psf_radius, wiener, strict=True))


def _repair_reach(config: RunConfig) -> Ints:
    """Return the radius (z y x, pixels) of impulse repair and, where the sensor may clip, of the bias correction."""
    clips = config.sensor.clips and not config.method.knows_sensor
    in_plane = REPAIR_RADIUS + (UNBIAS_RADIUS if clips else 0)
    return 0, in_plane, in_plane
