"""Stacks whose PSF changes with depth: the PSF of each tile's depth beside the best single one.

    python benchmarks/varying_psf.py                         # 2D and 3D, seeds 0-2 and 10-12
    python benchmarks/varying_psf.py --dimensions 3 --seeds 0 --core 2 3 6 9 12 18 36

An air objective (NA 0.7) looks into water, planes 1 um apart: spherical aberration grows from plane to plane. Every
plane of the scene is blurred by the exact PSF of its own depth, which no solver gets: the product interpolates between
few. Single PSFs are those of the first, the middle and the last plane, made as the others are (a depth that rises by
nearly nothing), in one tile; the best is taken by the truth. In 3D all PSFs reach equally far.

In 3D also: how far the PSF changes within a tile at most (a run refuses more than `psf_variation.MOST`, which is
lifted here), and what is seen of the borders of tiles. Seam: differences of neighbours in their overlap over the
intensity scale, the largest. Step: the error's change from plane to plane, RMS, where tiles meet over elsewhere; in
brackets of the same planes with the best single PSF, which has no tiles.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

import ssi_pipeline as ssi
from ssi_pipeline.config import DepthByZ, GibsonLanniPsf
from ssi_pipeline.physics.psf_by_depth import depth_at, refocused
from ssi_pipeline.physics.psf_variation import Variation
from ssi_pipeline.physics.psf_whole import cropped
from ssi_pipeline.run import prepare

VOXEL_UM = (1.0, 0.25, 0.25)
SHAPE = (36, 64, 64)
AROUND = 16
"""Pixels of the scene around the image along y and x: its light reaches the image."""

BORDER = 8
"""Pixels along y and x that do not count, as they depend on what is outside."""

INSIDE = (slice(None), slice(BORDER, -BORDER), slice(BORDER, -BORDER))

PHOTONS, BACKGROUND = 200.0, 5.0
OPTICS: dict[str, Any] = {
    "kind": "gibson_lanni",
    "numerical_aperture": 0.7,
    "wavelength_um": 0.52,
    "sample_index": 1.33,
    "immersion_index": 1.0,
}
SUPPORT_UM: dict[int, dict[str, float]] = {2: {}, 3: {"z": 10.0, "y": 4.0, "x": 4.0}}
"""By dimensions. In a plane a PSF ends by itself; along z there is the same light in every plane, without end."""

DEPTH = DepthByZ(at_z0=5.0, per_um=1.5)
SINGLE = (0.0, 0.5, 1.0)
"""Depths of the single PSFs, as shares of the stack."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """Error z y x after the best gain and offset, dB, the largest seam, the largest change of the PSF in a tile."""

    error: Floats
    decibel: float
    seam: float
    change: float


@dataclass(frozen=True)
class Row:
    """The PSFs by depth, and dB, depth as a share of the stack, and step in the same planes of the best single one."""

    seed: int
    core: int
    varying: Estimate
    single: float
    depth: float
    step: float


@lru_cache(maxsize=200)
def exact(plane: float, dimensions: int) -> NDArray[np.float32]:
    """Return the PSF of a plane's depth, z y x, computed for it alone."""
    depth = depth_at(DEPTH, plane + 0.5, VOXEL_UM)
    section = GibsonLanniPsf(**OPTICS, support_um=SUPPORT_UM[dimensions], depth_um=depth)
    return cropped(refocused(section, DEPTH, VOXEL_UM, dimensions, SHAPE[0])[0], 0.999)


def scene(seed: int) -> Floats:
    """Return points, filaments and soft bodies, z y x, larger than the image along y and x."""
    rng = np.random.default_rng(seed)
    shape = (SHAPE[0], *(n + 2 * AROUND for n in SHAPE[1:]))
    points = np.zeros(shape)
    for _ in range(shape[0] * 4):
        points[tuple(rng.integers(0, n) for n in shape)] += rng.uniform(2, 6)
    for _ in range(40):
        steps = np.cumsum(ndimage.gaussian_filter1d(rng.standard_normal((3, 200)), 12, axis=1) * (0.8, 3, 3)[0], axis=1)
        start = [rng.uniform(0, n) for n in shape]
        path = np.rint(steps + np.array(start)[:, None]).astype(int)
        inside = np.all((path >= 0) & (path < np.array(shape)[:, None]), axis=0)
        np.add.at(points, tuple(path[:, inside]), 0.4)
    bodies = ndimage.gaussian_filter(rng.standard_normal(shape), (2, 5, 5))
    bodies = np.clip(bodies / bodies.std() - 1, 0, None)
    return ndimage.gaussian_filter(points, (0.4, 0.6, 0.6)) + 0.3 * bodies


def recorded(truth: Floats, seed: int, dimensions: int) -> NDArray[np.uint16]:
    """Return the image of a scene: every plane spread by the PSF of its depth, photon noise on a background."""
    level = np.zeros(truth.shape)
    for z, plane in enumerate(truth):
        psf = exact(z, dimensions)
        spread = signal.fftconvolve(plane[None], psf, axes=(1, 2))
        r = psf.shape[0] // 2
        margins = [(n - m) // 2 for n, m in zip(spread.shape[1:], truth.shape[1:], strict=True)]
        spread = spread[:, margins[0] : margins[0] + truth.shape[1], margins[1] : margins[1] + truth.shape[2]]
        low, high = max(0, z - r), min(len(truth), z + r + 1)
        level[low:high] += spread[low - z + r : high - z + r]
    image = level[:, AROUND:-AROUND, AROUND:-AROUND]
    rng = np.random.default_rng(1000 + seed)
    photons = PHOTONS * image / np.percentile(image, 99.8) + BACKGROUND
    return rng.poisson(np.maximum(photons, 0)).astype(np.uint16)


def error(found: NDArray[Any], truth: Floats) -> Floats:
    """Return the error in the inner region, z y x, after the best gain and offset."""
    x, y = (np.asarray(a, np.float64)[INSIDE] for a in (found, truth))
    gain, offset = np.polyfit(x.ravel(), y.ravel(), 1)
    return np.asarray(gain * x + offset - y)


def step(error: Floats, core: int) -> float:
    """Return how much the error changes from plane to plane where tiles meet, over how much elsewhere; NaN in one."""
    jumps = np.square(np.diff(error, axis=0)).mean((1, 2))
    meets = np.arange(1, len(error)) % core == 0
    return float(np.sqrt(jumps[meets].mean() / jumps[~meets].mean())) if meets.any() and not meets.all() else np.nan


@contextmanager
def any_change() -> Iterator[list[float]]:
    """Let tiles have PSFs that change by any amount, and yield the list that it is noted in."""
    refuse, seen = prepare.refuse_large_variation, [0.0]

    def note(found: Variation, _: object) -> None:
        seen.append(found.distance)

    prepare.refuse_large_variation = note
    try:
        yield seen
    finally:
        prepare.refuse_large_variation = refuse


def solved(image: NDArray[Any], truth: Floats, psf: Any, solver: str, dimensions: int, core: int) -> Estimate:
    """Return what the estimate is worth."""
    tiles = {"core": {"z": core, "y": 64, "x": 64}} if dimensions == 3 else {}
    with any_change() as change:
        found = ssi.deconvolve(
            image,
            psf,
            axes="zyx",
            voxel_size_um=VOXEL_UM,
            dimensions=dimensions,
            solver=solver,
            metrics=True,
            tiling=tiles,
            output={"dtype": "float32"},
            classical={"weight": "likelihood"} if solver == "wiener" else {},
            quality={"extended": False},
        )
    left = error(found.image, truth)
    peak = np.percentile(truth[INSIDE], 99.8) - truth[INSIDE].min()
    db = 10 * np.log10(np.square(peak) / np.square(left).mean())
    return Estimate(left, float(db), float(np.nanmax(np.append(found.metrics["seam"], 0))), max(change))


def by_depth(depth: DepthByZ, dimensions: int) -> Any:
    """Return the PSF of the optics at depths."""
    optics = {k: v for k, v in OPTICS.items() if k != "kind"}
    return ssi.psf.gibson_lanni(**optics, support_um=SUPPORT_UM[dimensions], depth_um=depth.model_dump())


def compare(seed: int, solver: str, dimensions: int, cores: Sequence[int]) -> Iterator[Row]:
    """Yield a row for each length of tiles along z."""
    whole = scene(seed)
    truth = whole[:, AROUND:-AROUND, AROUND:-AROUND]
    image = recorded(whole, seed, dimensions)
    single = {}
    for share in SINGLE:
        depth = depth_at(DEPTH, share * (SHAPE[0] - 1) + 0.5, VOXEL_UM)
        psf = by_depth(DepthByZ(at_z0=depth - 0.0005 * SHAPE[0], per_um=0.001), dimensions)
        single[share] = solved(image, truth, psf, solver, dimensions, SHAPE[0])
    best = max(single, key=lambda share: single[share].decibel)
    for core in cores:
        found = solved(image, truth, by_depth(DEPTH, dimensions), solver, dimensions, core)
        yield Row(seed, core, found, single[best].decibel, best, step(single[best].error, core))


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table, and return its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 10, 11, 12])
    parser.add_argument("--solver", default="wiener")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--core", type=int, nargs="+", default=[6], help="planes of a tile in 3D")
    parser.add_argument("--short", action="store_true", help="one seed in 2D")
    asked = parser.parse_args(arguments)
    if asked.short:
        asked.seeds, asked.dimensions = [0], [2]
    print("| | solver | seed | planes of a tile | change in a tile | dB | best single | gain | seam | step |")
    print("|" + "---|" * 10)
    rows = []
    for dimensions in asked.dimensions:
        for seed in asked.seeds:
            for row in compare(seed, asked.solver, dimensions, asked.core if dimensions == 3 else [1]):
                rows.append(row)
                print(f"| {dimensions}D | {asked.solver} | {line(row)} |", flush=True)
    return rows


def line(row: Row) -> str:
    """Return the cells of a row."""
    found = row.varying
    return " | ".join(
        [
            f"{row.seed} | {row.core} | {found.change:.1%} | {found.decibel:.2f}",
            f"{row.single:.2f} (at {row.depth:.0%}) | {found.decibel - row.single:+.2f}",
            f"{found.seam:.4f} | {step(found.error, row.core):.2f} ({row.step:.2f})",
        ]
    )


if __name__ == "__main__":
    main()
