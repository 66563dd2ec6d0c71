"""Sub-pixel position and width of a bead: by a Gaussian at first, then by the average of all beads, stretched."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.physics.widths import FWHM_PER_SIGMA
from ssi_pipeline.workbench.beads.bead import Bead, Image, Values, window
from ssi_pipeline.workbench.beads.find import Scene, background

_LARGEST_STRETCH = 3.0

_LEAST_AROUND = 100
"""Voxels around a box from which its background is taken; where fewer are left, the image's is."""


def local_background(scene: Scene, bead: Bead, occupied: NDArray[np.bool_]) -> float:
    """Return the level around a bead's box, in planes of the box, without the boxes of other beads."""
    wide = (
        (scene.half[0], *(2 * h for h in scene.half[1:])) if scene.image.ndim == 3 else tuple(2 * h for h in scene.half)
    )
    around = window(scene.image, bead.peak, wide)
    values = scene.image[around][~occupied[around]]
    return background(values)[0] if values.size >= _LEAST_AROUND else scene.level


def occupied_by(scene: Scene, beads: list[Bead]) -> NDArray[np.bool_]:
    """Return where the boxes of all beads are."""
    taken = np.zeros(scene.image.shape, dtype=bool)
    for bead in beads:
        taken[window(scene.image, bead.peak, scene.half)] = True
    return taken


def gaussian_centre(scene: Scene, bead: Bead) -> tuple[float, ...]:
    """Return the position of a Gaussian fitted to the core of a bead; its peak where the fit leaves the core."""
    from scipy.optimize import least_squares

    core = window(scene.image, bead.peak, scene.core)
    values = scene.image[core].astype(np.float64) - bead.background
    grid = _grid(core)
    start = np.array([*bead.peak, *np.log(np.array(scene.fwhm) / FWHM_PER_SIGMA), values.max(), 0.0])
    n = scene.image.ndim

    def residual(p: Values) -> Values:
        """Return model minus data."""
        squares = sum(((x - c) / np.exp(s)) ** 2 for x, c, s in zip(grid, p[:n], p[n : 2 * n], strict=True))
        return np.asarray(p[-2] * np.exp(-squares / 2) + p[-1] - values).ravel()

    found = least_squares(residual, start, x_scale=np.maximum(np.abs(start), 1e-3), max_nfev=50).x[:n]
    near = np.abs(found - bead.peak) <= scene.core
    return tuple(float(c) for c in (found if near.all() else bead.peak))


def template_fit(scene: Scene, bead: Bead, template: Values) -> float:
    """Fit the average, moved and stretched, to a bead: sets centre, stretch, amplitude.

    Parameters
    ----------
    template
        Average with its centre in the middle and peak 1.

    Returns
    -------
    misfit
        Root mean square of the residual in the core, as a share of the amplitude.
    """
    from scipy.ndimage import map_coordinates, spline_filter
    from scipy.optimize import least_squares

    core = window(scene.image, bead.peak, scene.core)
    values = scene.image[core].astype(np.float64) - bead.background
    grid, spline, n = _grid(core), spline_filter(template), scene.image.ndim
    middle = np.array(template.shape) // 2
    start = np.array([*bead.centre, *np.zeros(n), values.max(), 0.0])
    scale = np.array([*np.ones(n), *np.full(n, 0.2), max(values.max(), 1e-12), max(values.max(), 1e-12)])

    def residual(p: Values) -> Values:
        """Return model minus data."""
        at = [(x - c) / np.exp(s) + m for x, c, s, m in zip(grid, p[:n], p[n : 2 * n], middle, strict=True)]
        model = map_coordinates(spline, np.broadcast_arrays(*at), prefilter=False, mode="nearest")
        return np.asarray(p[-2] * model + p[-1] - values).ravel()

    found = least_squares(residual, start, x_scale=scale, max_nfev=40).x
    stretch = np.exp(np.clip(found[n : 2 * n], -np.log(_LARGEST_STRETCH), np.log(_LARGEST_STRETCH)))
    bead.centre, bead.amplitude = tuple(float(c) for c in found[:n]), float(found[-2])
    bead.stretch = tuple(float(s) for s in stretch)
    return float(np.sqrt(np.square(residual(found)).mean()) / max(bead.amplitude, 1e-12))


def aligned(image: Image, centre: tuple[float, ...], half: tuple[int, ...]) -> Values:
    """Return the box around a sub-pixel position, resampled so that this is in its middle.

    By a spline of fifth order: up to half of the highest frequency it keeps 98 %.
    """
    from scipy.ndimage import shift

    middle = tuple(round(c) for c in centre)
    margin = tuple(h + 3 for h in half)
    part = window(image, middle, margin)
    before = [max(0, h - m) for m, h in zip(middle, margin, strict=True)]
    after = [max(0, m + h + 1 - n) for m, h, n in zip(middle, margin, image.shape, strict=True)]
    box = np.pad(image[part].astype(np.float64), list(zip(before, after, strict=True)), mode="edge")
    moved = shift(box, [m - c for m, c in zip(middle, centre, strict=True)], order=5, mode="nearest")
    return np.asarray(moved[tuple(slice(3, -3) for _ in half)])


def _grid(part: tuple[slice, ...]) -> list[Values]:
    ranges = [np.arange(s.start, s.stop, dtype=np.float64) for s in part]
    return [np.asarray(x) for x in np.meshgrid(*ranges, indexing="ij", sparse=True)]
