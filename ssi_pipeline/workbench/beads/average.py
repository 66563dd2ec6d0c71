"""Average aligned beads without outliers, and make a PSF of the average."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.workbench.beads.bead import Bead, Values
from ssi_pipeline.workbench.beads.find import Scene
from ssi_pipeline.workbench.beads.fit import aligned

_OUTLIER, _TOLERATED = 4.0, 0.1
"""A voxel of a bead is left out where it differs from the median by four times its noise and 10 % of the median: light
of other beads, dirt. The share is for the noise of the light itself and for errors of the alignment."""

_SURE = 3.0
"""Standard errors below which a voxel of the average is replaced by the mean around it; zero where this is below, too.
Negative values cannot be kept, and without this what is left of the noise would be a pedestal."""

_AROUND = 1.5
"""Standard deviation of that mean, in pixels."""

_ANGLES = 64
_RADII_PER_PIXEL = 4

_ITERATIONS = 60
"""Of Richardson-Lucy, for the size of the bead: the average has little noise, and more change widths by under 1 %."""


def average(scene: Scene, beads: Sequence[Bead]) -> tuple[Values, Values]:
    """Return the mean of aligned beads, weighted by their light, and its standard error; 1 is a bead's amplitude."""
    boxes = np.stack(
        [(aligned(scene.image, bead.centre, scene.half) - bead.background) / bead.amplitude for bead in beads]
    )
    middle = np.median(boxes, axis=0)
    noise = scene.noise / np.array([bead.amplitude for bead in beads])
    each = noise.reshape(-1, *[1] * middle.ndim)
    good = np.abs(boxes - middle) <= _OUTLIER * each + _TOLERATED * np.abs(middle)
    good |= ~good.any(axis=0)
    weight = good / each**2 if scene.noise else good.astype(np.float64)
    total = weight.sum(axis=0)
    error = 1 / np.sqrt(total) if scene.noise else np.zeros_like(middle)
    return (weight * boxes).sum(axis=0) / total, error


def peak_offset(values: Values) -> tuple[float, ...]:
    """Return the sub-pixel position of the maximum nearest to the middle, relative to it, by a spline."""
    from scipy.ndimage import map_coordinates, spline_filter

    spline, middle = spline_filter(values), np.array(values.shape) // 2
    offset, reach = np.zeros(values.ndim), 1.5
    while reach > 0.01:
        steps = [o + np.linspace(-reach, reach, 9) for o in offset]
        grid = np.meshgrid(*[s + m for s, m in zip(steps, middle, strict=True)], indexing="ij")
        found = map_coordinates(spline, grid, prefilter=False, mode="nearest")
        best = np.unravel_index(found.argmax(), found.shape)
        offset = np.array([s[i] for s, i in zip(steps, best, strict=True)])
        reach /= 4
    return tuple(float(o) for o in offset)


def cleaned(values: Values, error: Values) -> Values:
    """Return an average without negative values; see ``_SURE``."""
    from scipy.ndimage import gaussian_filter

    around = gaussian_filter(values, _AROUND)
    # variance of the mean of white noise: (4 pi sigma^2)^(-dimensions / 2) of a voxel's
    error_around = error * (4 * np.pi * _AROUND**2) ** (-values.ndim / 4)
    low = values < _SURE * error
    found = np.where(low, np.where(around < _SURE * error_around, 0.0, around), values)
    return np.maximum(found, 0.0)


def radial_average(values: Values, pixel: tuple[float, float]) -> Values:
    """Return the mean over angles around the middle of each plane.

    Parameters
    ----------
    values
        Axes (z) y x, odd sizes.
    pixel
        Size along y x in any unit; they may differ.
    """
    from scipy.interpolate import CubicSpline
    from scipy.ndimage import map_coordinates

    planes = values.reshape(-1, *values.shape[-2:])
    middle = [n // 2 for n in values.shape[-2:]]
    unit = min(pixel)
    y, x = ((np.arange(n) - m) * s / unit for n, m, s in zip(values.shape[-2:], middle, pixel, strict=True))
    distance = np.hypot(y[:, None], x)
    radius = np.arange(int(np.ceil(distance.max() * _RADII_PER_PIXEL)) + 2) / _RADII_PER_PIXEL
    angle = (np.arange(_ANGLES) + 0.5) * 2 * np.pi / _ANGLES
    rows = radius[:, None] * np.sin(angle) * unit / pixel[0] + middle[0]
    columns = radius[:, None] * np.cos(angle) * unit / pixel[1] + middle[1]
    inside = (rows >= 0) & (rows <= values.shape[-2] - 1) & (columns >= 0) & (columns <= values.shape[-1] - 1)
    share = np.maximum(inside.sum(axis=1), 1)
    found = []
    for plane in planes:
        ring = (map_coordinates(plane, [rows, columns], order=3, mode="nearest") * inside).sum(axis=1) / share
        found.append(np.maximum(CubicSpline(radius, ring)(distance), 0))
    return np.stack(found).reshape(values.shape)


def without_bead(values: Values, diameter: float, voxel: tuple[float, ...]) -> Values:
    """Return a PSF from the image of a sphere, by Richardson-Lucy.

    Parameters
    ----------
    diameter, voxel
        Of the bead and the voxels (z y x, or y x), in the same unit.
    """
    from skimage.restoration import richardson_lucy

    ball = sphere(diameter, voxel)
    if ball.size == 1:
        return values
    pad = [(n, n) for n in ball.shape]
    total = values.sum()
    found = richardson_lucy(np.pad(values, pad) / total, ball, num_iter=_ITERATIONS, clip=False, filter_epsilon=1e-12)
    return np.asarray(found[tuple(slice(n, -n) for n in ball.shape)] * total, dtype=np.float64)


def sphere(diameter: float, voxel: tuple[float, ...]) -> Values:
    """Return a uniform sphere (of one plane: its projection) integrated over voxels: odd sizes, sum 1."""
    fine = 7
    halves = [int(np.ceil(diameter / 2 / v - 0.5)) if diameter / 2 > v / 2 else 0 for v in voxel]
    axes = []
    for half, v in zip(halves, voxel, strict=True):
        count = (2 * half + 1) * fine
        axes.append((np.arange(count) - (count - 1) / 2) * v / fine)
    squares: NDArray[np.float64] = sum(np.ix_(*[a**2 for a in axes]), np.zeros(1))
    rest = (diameter / 2) ** 2 - squares
    ball = np.sqrt(np.maximum(rest, 0)) if len(voxel) == 2 else (rest > 0).astype(np.float64)
    for axis in range(ball.ndim):
        shape = (*ball.shape[:axis], -1, fine, *ball.shape[axis + 1 :])
        ball = ball.reshape(shape).mean(axis=axis + 1)
    return ball / ball.sum() if ball.sum() else np.ones((1,) * ball.ndim)
