"""A PSF that varies over the image: PSFs at the nodes of a grid, interpolated between them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.physics.psf import Position, Psf, VoxelSize

Node = tuple[int, int, int]


@dataclass(frozen=True, eq=False, slots=True)
class PsfSet(Psf):
    """PSFs of one size at the nodes of a grid over the image.

    ``values`` is their mean, for words and pictures. What is computed uses ``at``, the PSF of a place.

    Attributes
    ----------
    nodes
        float32, the axes of the grid, then those of the PSF, z y x each; every PSF as in ``Psf``.
    places
        Positions of the nodes along z y x, rising, in pixels of the image: the first pixel reaches from 0 to 1. A
        single position where the PSF does not vary.
    """

    nodes: NDArray[np.float32] = field(kw_only=True)
    places: tuple[tuple[float, ...], ...] = field(kw_only=True)

    @classmethod
    def of(cls, psfs: Sequence[Psf], places: Sequence[Sequence[float]]) -> PsfSet:
        """Gather PSFs, in the order of the grid z y x, at the positions along each axis; smaller ones get a margin."""
        radius = tuple(max(psf.radius[axis] for psf in psfs) for axis in range(3))
        grid = tuple(len(along) for along in places)
        nodes = np.stack([_with_margin(psf.values, radius) for psf in psfs])
        notes = tuple(dict.fromkeys(note for psf in psfs for note in psf.notes))
        return cls(
            nodes.mean(0, dtype=np.float64).astype(np.float32),
            psfs[0].voxel_size_um,
            notes,
            nodes=nodes.reshape(*grid, *nodes.shape[1:]),
            places=tuple(tuple(float(p) for p in along) for along in places),
        )

    @property
    def digest(self) -> str:
        """Digest of nodes and places, 16 hexadecimal digits."""
        little = np.ascontiguousarray(self.nodes, dtype="<f4")
        return hashlib.sha256(repr((little.shape, self.places)).encode() + little.tobytes()).hexdigest()[:16]

    @property
    def varying(self) -> list[int]:
        """Axes (0 z, 1 y, 2 x) along which it varies."""
        return [axis for axis in range(3) if len(self.places[axis]) > 1]

    @property
    def sharpest(self) -> Psf:
        """The node that passes most detail, by the sum of its squares."""
        found = max(self.node_indices, key=lambda node: float(np.square(self.nodes[node], dtype=np.float64).sum()))
        return self.node(found)

    @property
    def node_indices(self) -> list[Node]:
        """Indices of the nodes in their order."""
        z, y, x = self.nodes.shape[:3]
        return list(product(range(z), range(y), range(x)))

    def node(self, index: Node) -> Psf:
        """Return the PSF of a node."""
        return Psf(self.nodes[index], self.voxel_size_um)

    def where(self, index: Node) -> str:
        """Return the place of a node in words, for instance ``z 20``."""
        return ", ".join(f"{SPATIAL[axis]} {self.places[axis][index[axis]]:g}" for axis in self.varying)

    def at(self, place: Position | None) -> Psf:
        """Return the PSF at a place: linear between nodes along each axis, the nearest beyond the outermost.

        Raises
        ------
        ValueError
            There is no place.
        """
        if place is None:
            raise ValueError("the PSF varies over the image: expected the place of the tile or sample")
        values = np.zeros(self.nodes.shape[3:], np.float64)
        for corner in product(*(_neighbours(along, p) for along, p in zip(self.places, place, strict=True))):
            share = float(np.prod([weight for _, weight in corner]))
            values += share * self.nodes[tuple(index for index, _ in corner)]
        return Psf(values.astype(np.float32), self.voxel_size_um)

    def save(self, stream: BinaryIO) -> None:
        """Write nodes and places as arrays in the npy format, one after another, for ``read_saved``."""
        for array in (self.nodes, *map(np.array, self.places)):
            np.save(stream, array)


def read_saved(path: Path, voxel_size_um: VoxelSize | None) -> Psf | None:
    """Read a PSF, or a set of them, written by ``save``; None if the file is damaged."""
    try:
        with path.open("rb") as stream:
            values = np.load(stream, allow_pickle=False)
            places = [np.load(stream, allow_pickle=False) for _ in range(3)] if np.ndim(values) == 6 else []
    except (ValueError, EOFError, TypeError, MemoryError):  # what numpy raises for a damaged header or a short file
        return None
    if not isinstance(values, np.ndarray) or values.dtype != np.float32:
        return None
    if not places:
        return Psf(values, voxel_size_um)
    if values.shape[:3] != tuple(along.size for along in places):
        return None
    nodes = [Psf(each, voxel_size_um) for each in values.reshape(-1, *values.shape[3:])]
    return PsfSet.of(nodes, [along.tolist() for along in places])


def _neighbours(along: Sequence[float], position: float) -> list[tuple[int, float]]:
    """Return the nodes around a position, with their weights."""
    after = int(np.searchsorted(along, position))
    if after in (0, len(along)):
        return [(min(after, len(along) - 1), 1.0)]
    share = (position - along[after - 1]) / (along[after] - along[after - 1])
    return [(after - 1, 1 - share), (after, share)]


def _with_margin(values: NDArray[np.float32], radius: Sequence[int]) -> NDArray[np.float32]:
    """Return a PSF in the middle of an array of a radius, 0 around it."""
    return np.pad(values, [(r - n // 2, r - n // 2) for r, n in zip(radius, values.shape, strict=True)])
