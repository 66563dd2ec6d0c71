"""Input of a plan: needs of the solver per tile, and sizes requested by the user."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.geometry.volume import Axis, Sizes

PROCESS_BYTES = 700 * 2**20
"""Resident size of a worker before its first tile (python, torch, dask, zarr), measured 0.45 to 0.6 GiB."""

DEVICE_PROCESS_BYTES = 600 * 2**20
"""What a process takes of a GPU before its first tensor: its context and the libraries' kernels; 0.3 to 0.6 GiB by
their makers, not measured here."""

VOXELS_AT_ONCE = 2**22
"""Most voxels of several images that f sees at once on a GPU. With the default network their features take 1.7 GB at
most (104 float32 a pixel); in larger images launches are few beside the arithmetic."""

_ORIENTATIONS = {2: 8, 3: 16}
"""Symmetries of a PSF at most, in which f sees an image, by the number of axes."""

_PATCHES_ALIVE = 4
"""Activations of training relative to one evaluation, in patches of a batch: backward keeps those of forward."""


@dataclass(frozen=True, slots=True)
class WorkerMemory:
    """Memory of a worker in bytes. ``device``: its share of what its GPU has free; None: on a CPU, or not known."""

    host: int
    device: int | None = None


@dataclass(frozen=True, slots=True)
class PatchNeeds:
    """A training patch (z y x, in multiples of the stride), the patches of a batch, and activations.

    ``bytes_per_voxel``: activations alive in one pass without gradients; ``device_bytes_per_voxel``: on a GPU.
    """

    shape: Ints
    batch: int
    bytes_per_voxel: int
    device_bytes_per_voxel: int = 0

    def cut(self, domain: Ints) -> Ints:
        """Return the shape of a patch inside a domain (z y x)."""
        return tuple(min(p, d) for p, d in zip(self.shape, domain, strict=True))

    def bytes(self, domain: Ints) -> int:
        """Return the larger of the activations of a training step and of the evaluation of a domain."""
        return self.bytes_per_voxel * max(math.prod(domain), self._alive(domain))

    def device_bytes(self, domain: Ints) -> int:
        """Return the same on a GPU, where small domains are evaluated in several orientations at once."""
        voxels = math.prod(domain)
        at_once = max(1, min(_ORIENTATIONS[2 if domain[0] == 1 else 3], VOXELS_AT_ONCE // voxels))
        return self.device_bytes_per_voxel * max(at_once * voxels, self._alive(domain))

    def _alive(self, domain: Ints) -> int:
        return _PATCHES_ALIVE * math.prod(self.cut(domain)) * self.batch


@dataclass(frozen=True, slots=True)
class TileNeeds:
    """Needs of a solver per tile; lengths are z y x, pixels.

    Attributes
    ----------
    halo
        Smallest halo for which a tile's core equals the same inverse on the whole volume.
    pad
        Radius of the PSF, by which the domain exceeds the image.
    stride
        Shifts by multiples of it commute with the inverse.
    blended
        Tiles are solved independently and are therefore blended by default.
    least_side
        Minimum image size along each tiled axis, pixels.
    bytes_per_voxel
        Memory of the tile and of its solution, without a network's activations, and of the tile that is read ahead.
    host_bytes_per_voxel, device_bytes_per_voxel
        The same where a GPU solves it: what stays in the worker's memory, and what is on the GPU.
    patch
        Training patches; None without training on patches.
    neighbours
        Axis (z or t) and distance of further planes and frames that are read with each tile.
    fixed_bytes
        What a worker holds besides, whatever its tiles: PSFs that vary over the image.
    """

    halo: Ints
    pad: Ints = (0, 0, 0)
    stride: Ints = (1, 1, 1)
    blended: bool = False
    least_side: int = 1
    bytes_per_voxel: int = 0
    host_bytes_per_voxel: int = 0
    device_bytes_per_voxel: int = 0
    patch: PatchNeeds | None = None
    neighbours: tuple[tuple[str, int], ...] = ()
    fixed_bytes: int = 0

    def worker_bytes(self, domain: Ints) -> int:
        """Estimate the peak resident bytes of a worker that solves one tile with this domain (z y x) on its CPU."""
        activations = 0 if self.patch is None else self.patch.bytes(domain)
        return PROCESS_BYTES + self.fixed_bytes + self.bytes_per_voxel * math.prod(domain) + activations

    def host_bytes(self, domain: Ints) -> int:
        """Estimate the peak resident bytes of a worker whose GPU solves one tile with this domain."""
        return PROCESS_BYTES + self.fixed_bytes + self.host_bytes_per_voxel * math.prod(domain)

    def device_bytes(self, domain: Ints) -> int:
        """Estimate the peak bytes of a worker on its GPU."""
        activations = 0 if self.patch is None else self.patch.device_bytes(domain)
        return DEVICE_PROCESS_BYTES + self.device_bytes_per_voxel * math.prod(domain) + activations

    def fits(self, domain: Ints, memory: WorkerMemory, share: float = 1.0) -> bool:
        """Return whether a tile with this domain needs no more than a share of a worker's memory."""
        if memory.device is None:
            return self.worker_bytes(domain) <= share * memory.host
        on_host = self.host_bytes(domain) <= share * memory.host
        return on_host and self.device_bytes(domain) <= share * memory.device


@dataclass(frozen=True, slots=True)
class TilingRequest:
    """Tiling request: the solver's needs and the user's sizes, None where the plan chooses.

    ``dimensions``: spatial axes that a tile spans. ``roi``: start and stop by axis. ``sharded``: chunks can be
    grouped in one file (zarr v3).
    """

    dimensions: int
    needs: TileNeeds
    roi: Mapping[Axis, tuple[int, int]] = field(default_factory=dict)
    core: Sizes = None
    blend: Sizes = None
    shard: Sizes = None
    chunk: Sizes = None
    sharded: bool = True
