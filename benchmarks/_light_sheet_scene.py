"""A light-sheet volume of any size with its truth, block by block: nuclei, filaments, beads; a PSF by depth.

Voxels are three times as long along z. Structures of a block stay inside it, so that it depends on the seed and its
number alone. The PSF is a Gaussian, as the product of sheet and detection nearly is; its widths grow by half from the
first plane to the last. Photons with read noise in 16 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from _real_cases import Floats
from numpy.typing import NDArray
from scipy import ndimage

VOXEL_UM = (0.9, 0.3, 0.3)
BACKGROUND, DARK, READ_NOISE = 10.0, 100.0, 2.0
"""Photons outside of all structures, dark level, electrons of read noise; the gain is 1."""

NEAR, FAR = (1.5, 2.4, 2.4), (2.25, 3.6, 3.6)
"""Full widths at half maximum, z y x in pixels, in the first and the last plane."""

_SIGMAS = 1 / np.sqrt(8 * np.log(2))
_REACH = 3.5
"""Standard deviations to which light is spread: 5e-4 of it goes farther along an axis."""

Shape = tuple[int, int, int]
Boxed = tuple[slice, ...]


@dataclass(frozen=True)
class Made:
    """A volume on disk: image in raw units, truth in photons, both uint16 z y x, and the size of their blocks."""

    image: zarr.Array[Any]
    truth: zarr.Array[Any]
    block: Shape

    def blocks(self) -> list[Boxed]:
        """Return the blocks in their order."""
        spans = [
            [slice(i, min(i + b, n)) for i in range(0, n, b)] for n, b in zip(self.image.shape, self.block, strict=True)
        ]
        return list(product(*spans))


def fwhm_at(plane: float, planes: int) -> Floats:
    """Return the widths z y x, pixels, of the PSF of a plane, counted from 0."""
    return np.array(NEAR) + (np.array(FAR) - np.array(NEAR)) * plane / max(planes - 1, 1)


def make(folder: Path, shape: Shape, block: Shape, seed: int) -> Made:
    """Write truth and image as zarr arrays, one block in memory at a time."""
    options: dict[str, Any] = {"shape": shape, "chunks": block, "dtype": "uint16", "dimension_names": ["z", "y", "x"]}
    made = Made(*(zarr.create_array(folder / f"{name}.zarr", **options) for name in ("image", "truth")), block)
    for number, box in enumerate(made.blocks()):
        size = tuple(s.stop - s.start for s in box)
        made.truth[box] = np.rint(structures(np.random.default_rng((seed, number)), size) + BACKGROUND).astype(
            np.uint16
        )
    for number, box in enumerate(made.blocks()):
        made.image[box] = recorded(made.truth, box, np.random.default_rng((seed, number, 1)))
    return made


def structures(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Return the photons of nuclei, filaments and beads, z y x, about 600 at the brightest."""
    ends, sides = np.array(shape), np.array(VOXEL_UM) / VOXEL_UM[-1]
    scene = np.zeros(shape, np.float32)
    for _ in range(int(ends.prod() / 8_000)):  # nuclei: ellipsoids
        axes = rng.uniform(7, 12, 3) / sides
        _ellipsoid(scene, rng.uniform(0, 1, 3) * (ends - 2 * axes) + axes, axes, rng.uniform(100, 250))
    lines, steps = max(1, int(ends.prod() / 25_000)), 200  # filaments: walks whose direction turns slowly
    ways = ndimage.gaussian_filter1d(rng.standard_normal((lines, steps, 3)), 25, axis=1)
    ways /= np.linalg.norm(ways, axis=-1, keepdims=True)
    walks = rng.uniform(0, 1, (lines, 1, 3)) * ends + np.cumsum(0.5 * ways / sides, axis=1)
    walks = ends - 1 - np.abs(np.abs(walks) % (2 * (ends - 1)) - (ends - 1))  # reflected at the walls
    levels = np.broadcast_to(rng.uniform(150, 500, (lines, 1)), (lines, steps))
    _add(scene, walks.reshape(-1, 3), levels.ravel())
    beads = int(ends.prod() / 30_000)
    _add(scene, rng.uniform(0, 1, (beads, 3)) * (ends - 1), rng.uniform(1000, 3000, beads))
    return ndimage.gaussian_filter(scene, (0.4, 0.7, 0.7), mode="constant")


def recorded(truth: Any, box: Boxed, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return the image of a block: every plane around it spread by the PSF of its own depth, and noise."""
    reach = [int(np.ceil(_REACH * _SIGMAS * width)) for width in FAR]
    low = [max(0, s.start - r) for s, r in zip(box, reach, strict=True)]
    high = [min(n, s.stop + r) for s, r, n in zip(box, reach, truth.shape, strict=True)]
    around = np.asarray(truth[tuple(map(slice, low, high))], np.float32)
    # beyond the volume there is background alone
    margins = [(r - (s.start - a), r - (b - s.stop)) for s, r, a, b in zip(box, reach, low, high, strict=True)]
    around = np.pad(around, margins, constant_values=BACKGROUND)
    size = tuple(s.stop - s.start for s in box)
    level = np.zeros((size[0], *around.shape[1:]), np.float32)
    for k, plane in enumerate(around):
        emitter = box[0].start + k - reach[0]  # of planes outside: as the PSF goes on
        sigma = _SIGMAS * fwhm_at(emitter, truth.shape[0])
        spread = ndimage.gaussian_filter(plane, sigma[1:], truncate=_REACH)
        shares = np.exp(-0.5 * ((np.arange(size[0]) - (k - reach[0])) / sigma[0]) ** 2)
        along = np.exp(-0.5 * (np.arange(-reach[0], reach[0] + 1) / sigma[0]) ** 2).sum()
        for z in np.flatnonzero(np.abs(np.arange(size[0]) - (k - reach[0])) <= reach[0]):
            level[z] += np.float32(shares[z] / along) * spread
    inner = level[:, reach[1] : reach[1] + size[1], reach[2] : reach[2] + size[2]]
    image = rng.poisson(inner) + READ_NOISE * rng.standard_normal(size, np.float32) + DARK
    return np.rint(image).clip(0, 65535).astype(np.uint16)


def _ellipsoid(scene: NDArray[np.float32], centre: Floats, axes: Floats, level: float) -> None:
    low, high = np.maximum(0, centre - axes).astype(int), np.ceil(centre + axes).astype(int) + 1
    box = tuple(map(slice, low, np.minimum(high, scene.shape)))
    distance = np.sqrt(sum(((i - c) / a) ** 2 for i, c, a in zip(np.ogrid[box], centre, axes, strict=True)))
    scene[box] = np.maximum(scene[box], level * np.clip(6 * (1 - distance) + 0.5, 0, 1))


def _add(scene: NDArray[np.float32], places: Floats, levels: Floats) -> None:
    where = np.clip(np.rint(places).astype(int), 0, np.array(scene.shape) - 1)
    np.add.at(scene, tuple(where.T), levels)
