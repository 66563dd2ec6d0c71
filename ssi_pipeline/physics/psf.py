"""The point spread function as data: centred, cropped and normalised."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

VoxelSize = tuple[float, float, float]

Position = tuple[float, float, float]
"""Position z y x in pixels of the input image: its first pixel reaches from 0 to 1."""


@dataclass(frozen=True, eq=False, slots=True)
class Psf:
    """The PSF as the kernel of a convolution: ``(h * x)[i] = sum over k of values[center + k] x[i - k]``.

    Attributes
    ----------
    values
        float32, axes z y x, odd sizes, centre in the central voxel, >= 0, sum 1. Length 1 along z for 2D tiles.
    voxel_size_um
        Voxel size (z y x) in micrometres, or None if unknown.
    notes
        What is doubtful about it, for the user.
    """

    values: NDArray[np.float32]
    voxel_size_um: VoxelSize | None = None
    notes: tuple[str, ...] = ()

    @property
    def radius(self) -> tuple[int, int, int]:
        """Radius in pixels along z y x: half of the size, rounded down."""
        z, y, x = (n // 2 for n in self.values.shape)
        return z, y, x

    @property
    def digest(self) -> str:
        """Digest of shape and values, 16 hexadecimal digits."""
        little = np.ascontiguousarray(self.values, dtype="<f4")
        return hashlib.sha256(repr(little.shape).encode() + little.tobytes()).hexdigest()[:16]

    @property
    def varying(self) -> list[int]:
        """Axes (0 z, 1 y, 2 x) along which it varies over the image: none."""
        return []

    @property
    def sharpest(self) -> Psf:
        """The PSF that passes most detail anywhere in the image: itself."""
        return self

    def at(self, place: Position | None) -> Psf:  # noqa: ARG002
        """Return the PSF at a place: itself, it is the same everywhere."""
        return self

    def save(self, stream: BinaryIO) -> None:
        """Write the values in the npy format, for ``read_saved``."""
        np.save(stream, self.values)


def psf_values(psf: Psf | None, dimensions: int) -> NDArray[np.float32]:
    """Return the PSF on a tile's spatial axes: float32, (z) y x; a single 1 for None (no blur).

    Raises
    ------
    ValueError
        The PSF has several planes and ``dimensions`` is 2.
    """
    if psf is None:
        return np.ones((1,) * dimensions, dtype=np.float32)
    if dimensions == 3:
        values: NDArray[np.float32] = psf.values
        return values
    if psf.values.shape[0] != 1:
        raise ValueError(f"expected a PSF of one plane for tiles in 2D, found {psf.values.shape[0]} planes")
    plane: NDArray[np.float32] = psf.values[0]
    return plane


def psf_digest(values: NDArray[np.float32]) -> str:
    """Return the digest of a PSF (z) y x as stored in model files: 16 hexadecimal digits over shape and values."""
    return hashlib.sha256(str(values.shape).encode() + values.astype("<f4").tobytes()).hexdigest()[:16]
