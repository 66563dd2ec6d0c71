"""Sample the intensity of a computed PSF on the image's voxels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import ComputedPsf
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.physics.kernel_size import refuse_many_voxels
from ssi_pipeline.physics.optics_checks import refuse_implausible_optics
from ssi_pipeline.physics.psf import VoxelSize
from ssi_pipeline.physics.psf_support import STEPS, Intensity, support_um

_MOST_VOXELS = 2**24
"""Largest number of voxels: 101 planes of 401 x 401 take a minute."""

_NODES, _WEIGHTS = (values / 2 for values in np.polynomial.legendre.leggauss(3))
"""Points in a voxel along each axis, in voxels from its middle, and their weights: a camera pixel integrates light,
and a voxel of the estimate stands for the light in all of it. At the highest frequency, sampled by Nyquist, the sum of
these three is 0.637 as the integral; at twice that sampling it is 0.02, the integral 0."""


def on_grid(
    section: ComputedPsf,
    intensity: Intensity,
    voxel_size_um: VoxelSize | None,
    dimensions: int,
    image_planes: int | None = None,
) -> NDArray[np.float64]:
    """Sample an intensity on the image's grid: z y x, odd sizes, integrated over voxels.

    Parameters
    ----------
    section
        Optics; ``support_um`` overrides the radius of the PSF along each axis.
    intensity
        Function of distances from the axis and height above the central plane, micrometres.
    voxel_size_um
        Voxel size (z y x), or None if unknown.
    dimensions
        Number of spatial axes of a tile; the PSF for 2 has length 1 along z, and is that of the central plane.
    image_planes
        Planes of the image, None if unknown.

    Raises
    ------
    InputError
        The voxel size is unknown, or the optics or the voxel size cannot be meant.
    """
    if voxel_size_um is None:
        raise InputError(
            f"psf.kind {section.kind} needs the voxel size, which the image does not state: set input.voxel_size_um"
        )
    refuse_implausible_optics(section, voxel_size_um, dimensions)
    depth = None if image_planes is None else (image_planes - 1) * voxel_size_um[0]
    axial, lateral = support_um(section, intensity, dimensions, depth)
    reach = {"z": axial, "y": lateral, "x": lateral} | (section.support_um or {})
    radius = [
        max(1, math.ceil(round(reach[axis] / size, 6))) if axis in SPATIAL[3 - dimensions :] else 0
        for axis, size in zip(SPATIAL, voxel_size_um, strict=True)
    ]
    name = "psf.support_um" if section.support_um else f"psf.kind {section.kind}"
    refuse_many_voxels(name, [2 * n + 1 for n in radius], _MOST_VOXELS)
    y, x = (_points(n, size) for n, size in zip(radius[1:], voxel_size_um[1:], strict=True))
    heights = _points(radius[0], voxel_size_um[0]) if dimensions == 3 else np.zeros(1)
    return _sampled(section, intensity, heights, np.sqrt(y[:, None] ** 2 + x[None, :] ** 2))


def _sampled(
    section: ComputedPsf, intensity: Intensity, heights: NDArray[np.float64], distance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the means over voxels of an intensity at heights and distances from the axis, three points per voxel.

    ``heights``: of all points, or a single one for a plane.
    """
    from scipy.interpolate import CubicSpline  # 0.1 s of imports, only for these kinds of PSF

    step = section.wavelength_um / section.numerical_aperture / STEPS
    table = np.arange(math.ceil(float(distance.max()) / step) + 2, dtype=np.float64) * step
    count = len(_NODES)
    rows, columns = (n // count for n in distance.shape)
    weights = _WEIGHTS if heights.size > 1 else np.ones(1)
    distinct, where = np.unique(distance, return_inverse=True)  # a tenth of all
    planes = []
    for group in heights.reshape(-1, weights.size):
        level = np.zeros(table.size)
        for z, weight in zip(group, weights, strict=True):
            level += weight * intensity(table, float(z))
        fine = CubicSpline(table, level)(distinct)[where].reshape(rows, count, columns, count)
        planes.append(np.einsum("yixj,i,j", fine, _WEIGHTS, _WEIGHTS))
    # a spline may fall below 0 between zeros of the intensity
    return np.asarray(np.maximum(np.stack(planes), 0.0))


def _points(radius: int, size_um: float) -> NDArray[np.float64]:
    """Return the positions of the points of all voxels, relative to the middle of the central one."""
    return np.asarray((np.arange(-radius, radius + 1)[:, None] + _NODES).ravel() * size_um)
