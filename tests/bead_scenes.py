"""Images of beads with known PSF and places: any intensity, integrated over camera pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline

Intensity = Callable[[NDArray[np.float64], float], NDArray[np.float64]]

SUBPIXELS = (np.arange(3) - 1) / 3


@dataclass(frozen=True)
class Optics:
    """An intensity as a spline over radius and height, micrometres; the peak is at ``focus_um`` and 1."""

    spline: RectBivariateSpline
    focus_um: float

    @classmethod
    def of(cls, intensity: Intensity, reach_um: float, depth_um: float, step_um: float = 0.01) -> Optics:
        radii = np.arange(0, reach_um, step_um)
        heights = np.arange(-depth_um, depth_um, 2.5 * step_um)
        values = np.stack([intensity(radii, float(z)) for z in heights])
        focus = float(heights[values[:, 0].argmax()])
        return cls(RectBivariateSpline(heights, radii, values / values.max()), focus)

    def at(self, z: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Intensity at offsets from the peak."""
        z, r = np.broadcast_arrays(z + self.focus_um, np.hypot(y, x))
        return np.asarray(self.spline.ev(z, r))

    def voxels(
        self, place: Sequence[float], voxel: Sequence[float], low: Sequence[int], size: Sequence[int]
    ) -> NDArray[np.float64]:
        """A bead at a place (pixels) in the voxels from ``low``: mean over camera pixels, a point along z."""
        z, y, x = ((np.arange(n) + a - p) * v for n, a, p, v in zip(size, low, place, voxel, strict=True))
        total = np.zeros(tuple(size))
        for dy in SUBPIXELS * voxel[1]:
            for dx in SUBPIXELS * voxel[2]:
                total += self.at(z[:, None, None], y[:, None] + dy, x + dx)
        return total / SUBPIXELS.size**2

    def fwhm_um(self, voxel: Sequence[float]) -> tuple[float, float, float]:
        """True width of the image of a point along z y x: of the mean over a camera pixel, on a fine grid."""
        fine = np.linspace(-3, 3, 6001)
        widths = []
        for axis in range(3):
            line = np.zeros_like(fine)
            for dy in SUBPIXELS * voxel[1]:
                for dx in SUBPIXELS * voxel[2]:
                    z, y, x = (fine if i == axis else np.zeros(1) for i in range(3))
                    line += self.at(z, y + dy, x + dx)
            inside = fine[line >= line.max() / 2]
            widths.append(float(inside.max() - inside.min()))
        return widths[0], widths[1], widths[2]


def bead_image(
    optics: Optics,
    places: NDArray[np.float64],
    shape: tuple[int, int, int],
    voxel: Sequence[float],
    photons: NDArray[np.float64],
    background: float,
    seed: int,
    half: tuple[int, int, int] = (10, 16, 16),
) -> NDArray[np.uint16]:
    """An image z y x with beads at ``places`` (pixels), peaks of ``photons``, and Poisson noise."""
    image = np.full(shape, float(background))
    for place, peak in zip(places, photons, strict=True):
        low = [max(0, round(p) - h) for p, h in zip(place, half, strict=True)]
        stop = [min(n, round(p) + h + 1) for p, h, n in zip(place, half, shape, strict=True)]
        size = [b - a for a, b in zip(low, stop, strict=True)]
        image[tuple(slice(a, b) for a, b in zip(low, stop, strict=True))] += peak * optics.voxels(
            place, voxel, low, size
        )
    return np.random.default_rng(seed).poisson(image).astype(np.uint16)
