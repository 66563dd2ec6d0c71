"""Small stacks with truth whose planes are three times as far apart as pixels: nuclei, filaments, beads, membranes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from _real_cases import Floats
from scipy import ndimage, signal
from scipy.spatial import cKDTree

from ssi_pipeline.config import parse_config
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.physics.psf_loader import load_psf

SHAPE = (16, 32, 32)
VOXEL_UM = (0.39, 0.13, 0.13)
READ_NOISE, BACKGROUND, DARK = 2.0, 5.0, 100.0
"""Electrons of read noise, photons of background, dark level; the gain is 1."""

_SIDES = np.array(VOXEL_UM) / VOXEL_UM[-1]

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Stack:
    """A stack z y x with its truth in the same units, and its PSF."""

    image: Floats
    truth: Floats
    psf: Psf


def nuclei(rng: np.random.Generator, shape: Shape) -> Floats:
    """Return textured ellipsoids, 0 to about 1."""
    places, scene = _places(shape), np.zeros(shape)
    grain = ndimage.gaussian_filter(rng.standard_normal(shape), (0.7, 2, 2))
    for _ in range(max(3, int(np.prod(shape) / 3000))):
        centre, radius = rng.uniform(0, 1, 3) * np.array(shape) * _SIDES, rng.uniform(6, 11)
        axes = radius * np.array([rng.uniform(0.8, 1.2), 1, rng.uniform(0.7, 1)])
        distance = np.sqrt((((places - centre) / axes) ** 2).sum(-1))
        scene = np.maximum(scene, rng.uniform(0.4, 0.9) * np.clip(4 * (1 - distance) + 0.5, 0, 1))
    return np.asarray(scene * (1 + 0.35 * np.clip(grain / grain.std(), -2, 2)))


def filaments(rng: np.random.Generator, shape: Shape) -> Floats:
    """Return curved fibres in all directions, 0 to 1 except for crossings."""
    scene = np.zeros(shape)
    for _ in range(int(np.prod(shape) * 3 / 7000)):
        place, way, level = rng.uniform(0, 1, 3) * shape * _SIDES, rng.standard_normal(3), rng.uniform(0.4, 1)
        for _ in range(160):
            way = way / np.linalg.norm(way) + 0.08 * rng.standard_normal(3)
            place = place + 0.5 * way / np.linalg.norm(way)
            voxel = np.floor(place / _SIDES).astype(int)
            if np.all(voxel >= 0) and np.all(voxel < shape):
                scene[tuple(voxel)] += level
    scene = ndimage.gaussian_filter(scene, (0.3, 0.5, 0.5))
    return np.asarray(scene / np.percentile(scene, 99.5))


def beads(rng: np.random.Generator, shape: Shape) -> Floats:
    """Return points, the brightest 1."""
    scene = np.zeros(shape)
    for _ in range(int(np.prod(shape) / 1500)):
        scene[tuple(rng.integers(0, n) for n in shape)] += rng.uniform(0.3, 1)
    scene = ndimage.gaussian_filter(scene, (0.3, 0.7, 0.7))
    return np.asarray(scene / scene.max())


def membranes(rng: np.random.Generator, shape: Shape) -> Floats:
    """Return the walls of cells: borders of a Voronoi tessellation, about two pixels wide, 0 to 1."""
    ends = np.array(shape) * _SIDES
    points = rng.uniform(-0.1, 1.1, (max(8, int(np.prod(ends) / 4000)), 3)) * ends
    near, owner = cKDTree(points).query(_places(shape).reshape(-1, 3), k=2)
    level = rng.uniform(0.5, 1, len(points))
    wall: Floats = level[owner].mean(-1) * np.exp(-(((near[:, 1] - near[:, 0]) / 2.0) ** 2))
    return wall.reshape(shape)


CONTENTS: dict[str, Callable[[np.random.Generator, Shape], Floats]] = {
    "nuclei": nuclei,
    "filaments": filaments,
    "beads": beads,
    "membranes": membranes,
}

OPTICS: dict[str, tuple[dict[str, object], Shape, float]] = {
    "widefield": ({"kind": "widefield", "numerical_aperture": 1.1, "wavelength_um": 0.52}, (4, 6, 6), 100.0),
    "light sheet": ({"kind": "gaussian", "fwhm_um": {"z": 1.38, "y": 0.37, "x": 0.37}}, (4, 4, 4), 600.0),
}
"""Section of the PSF, radius to which it is cut, photons of the brightest structures."""


def psf_of(optics: str) -> Psf:
    """Return a PSF, cut to its radius."""
    section, radius, _ = OPTICS[optics]
    document = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {**section, "energy": 0.97}}
    psf = load_psf(parse_config(document).psf[0], VOXEL_UM, 3)
    assert psf is not None
    cut = tuple(slice(max(0, n // 2 - r), n // 2 + r + 1) for n, r in zip(psf.values.shape, radius, strict=True))
    values = psf.values[cut]
    return Psf(values / values.sum(), VOXEL_UM)


def stack(content: str, optics: str, seed: int, shape: Shape = SHAPE) -> Stack:
    """Simulate a stack, which is the middle of a larger scene."""
    psf, rng = psf_of(optics), np.random.default_rng((seed, list(CONTENTS).index(content), 3))
    larger: Shape = tuple(n + 2 * r for n, r in zip(shape, psf.radius, strict=True))  # type: ignore[assignment]
    photons = OPTICS[optics][2] * CONTENTS[content](rng, larger) + BACKGROUND
    level = signal.fftconvolve(photons, psf.values, mode="valid").clip(0)
    image = rng.poisson(level) + READ_NOISE * rng.standard_normal(shape) + DARK
    inner = tuple(slice(r, -r) for r in psf.radius)
    return Stack(image, photons[inner] + DARK, psf)


def stacks(
    seeds: Sequence[int], contents: Sequence[str] | None, optics: Sequence[str], shape: Shape
) -> Iterator[tuple[str, Stack]]:
    """Yield name and stack z y x: contents (None: all) under optics."""
    for seed in seeds:
        for content in contents or CONTENTS:
            for each in optics:
                yield f"{content}, {each}, seed {seed}", stack(content, each, seed, shape)


def _places(shape: Shape) -> Floats:
    """Return the place of each voxel in units of the smallest side, z y x last."""
    return np.stack(np.mgrid[tuple(map(slice, shape))], -1) * _SIDES
