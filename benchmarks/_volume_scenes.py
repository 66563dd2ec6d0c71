"""Large scenes with truth, as a volume has them: nuclei, filaments, membranes, all kinds side by side, a stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from _real_cases import DARK, GAIN, GAUSSIAN, MARGIN, PHOTONS, Floats, blurred, camera, digitised, inside
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from ssi_pipeline.benchmark.images import find_images, read_truth
from ssi_pipeline.benchmark.protocol import LEVELS, benchmark_psf, degrade

BACKGROUND = 10.0
"""Photons per pixel outside of all structures."""


@dataclass(frozen=True)
class Scene:
    """An image (z) y x with its truth in the same units.

    ``psf``: a section of the configuration, or an array that is written to a file. ``dark``: level without light.
    """

    image: NDArray[Any]
    truth: Floats
    psf: dict[str, Any] | NDArray[np.float32] = field(default_factory=lambda: dict(GAUSSIAN))
    dark: float = DARK

    @property
    def axes(self) -> str:
        """Axes of the image; planes of a stack are solved one by one."""
        return "zyx"[-self.image.ndim :]


def nuclei(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Return nuclei in 0 ... about 1, z y x: ellipsoids with a texture, some brighter than others."""
    grain = ndimage.gaussian_filter(rng.standard_normal(shape), (0, 2.0, 2.0))
    grain = 1 + 0.35 * np.clip(grain / grain.std(), -2, 2)
    scene = np.zeros(shape)
    depth = shape[0] + 12 if shape[0] > 1 else 1
    for _ in range(int(depth * np.prod(shape[1:]) / (1400 if depth == 1 else 20_000))):
        centre = [rng.uniform(-6, shape[0] + 6) if depth > 1 else 0, *(rng.uniform(0, n) for n in shape[1:])]
        axes, angle, level = rng.uniform(7, 14, 2), rng.uniform(0, np.pi), rng.uniform(0.3, 0.7)
        low = [max(0, int(c - 15)) for c in centre]
        box = tuple(slice(a, min(n, int(c + 16))) for a, c, n in zip(low, centre, shape, strict=True))
        z, y, x = (i - c for i, c in zip(np.mgrid[box], centre, strict=True))
        u, v = (np.cos(angle) * x + np.sin(angle) * y) / axes[0], (np.cos(angle) * y - np.sin(angle) * x) / axes[1]
        distance = np.sqrt(u**2 + v**2 + (z / 6) ** 2)
        scene[box] = np.maximum(scene[box], level * np.clip(8 * (1 - distance) + 0.5, 0, 1))
    return scene * grain


def filaments(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Return thin curved fibres, z y x: each a random walk whose direction turns slowly."""
    planes = []
    for _ in range(shape[0]):
        count, steps = int(shape[1] * shape[2] / 5000), 700  # steps of half a pixel
        turns = ndimage.gaussian_filter1d(rng.standard_normal((count, steps)), 30, axis=1)
        angles = rng.uniform(0, 2 * np.pi, (count, 1)) + np.cumsum(turns / turns.std() * 0.01, axis=1)
        levels = np.broadcast_to(rng.uniform(0.4, 1.0, (count, 1)), angles.shape)
        y, x = (
            rng.uniform(0, n, (count, 1)) + np.cumsum(f(angles) / 2, axis=1)
            for n, f in zip(shape[1:], (np.sin, np.cos), strict=True)
        )
        bins = [np.arange(n + 1) for n in shape[1:]]
        planes.append(np.histogram2d(y.ravel(), x.ravel(), bins, weights=levels.ravel())[0])
    return np.asarray(ndimage.gaussian_filter(np.stack(planes), (0, 0.5, 0.5)))


def membranes(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Return the walls of irregular cells, z y x: borders of a Voronoi tessellation, about two pixels wide."""
    planes = []
    for _ in range(shape[0]):
        points = rng.uniform(-20, np.array(shape[1:]) + 20, (int(np.prod(shape[1:]) / 500), 2))
        bend = [6 * ndimage.gaussian_filter(rng.standard_normal(shape[1:]), 8) * 20 for _ in range(2)]
        where = np.stack([i + b for i, b in zip(np.mgrid[tuple(map(slice, shape[1:]))], bend, strict=True)], axis=-1)
        near, owner = cKDTree(points).query(where, k=2)
        level = rng.uniform(0.5, 1.0, len(points))
        planes.append(level[owner].mean(-1) * np.exp(-(((near[..., 1] - near[..., 0]) / 2.0) ** 2)))
    return np.stack(planes)


def haze(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Return nuclei far out of focus, z y x, 0.7 at most."""
    scene = np.asarray(ndimage.gaussian_filter(nuclei(rng, shape), (0, 8.0, 8.0)))
    return 0.7 * scene / scene.max()


def mixed(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Return nuclei, filaments, membranes and haze, z y x, each in a quarter of the planes."""
    scene = np.zeros(shape)
    halves = [(slice(0, n // 2), slice(n // 2, n)) for n in shape[1:]]
    for quarter, make in zip(product(*halves), (nuclei, filaments, membranes, haze), strict=True):
        where = (slice(None), *quarter)
        scene[where] = make(rng, shape)[where]
    return scene


CONTENTS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Floats]] = {
    "nuclei": nuclei,
    "filaments": filaments,
    "membranes": membranes,
    "mixed": mixed,
}


def simulated(content: str, light: str, seed: int, side: int, planes: int = 1) -> Scene:
    """Return a scene of planes of ``side`` pixels, its brightest structures with 90 or 600 photons a pixel."""
    rng = np.random.default_rng((seed, 17, list(CONTENTS).index(content)))
    photons = PHOTONS[light] * CONTENTS[content](rng, (planes, side + 2 * MARGIN, side + 2 * MARGIN)) + BACKGROUND
    image, truth = (inside(a) for a in (digitised(camera(blurred(photons), seed)), GAIN * photons + DARK))
    return Scene(image, truth) if planes > 1 else Scene(image[0], truth[0])


def published(folder: Path | None, side: int) -> Scene:
    """Return the middle of each image of a folder that is large enough, by the published protocol, as a stack."""
    truths = [read_truth(path, side) for path in find_images(folder)]
    truths = [truth for truth in truths if truth.shape == (side, side)]
    psf = benchmark_psf()
    image = np.stack([degrade(truth, psf) for truth in truths])
    return Scene(image, LEVELS * np.stack(truths).astype(np.float64), psf.astype(np.float32), dark=0.0)
