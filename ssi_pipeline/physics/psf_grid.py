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
from ssi_pipeline.physics.psf_support import Intensity, support_um

_MOST_VOXELS = 2**24
"""Largest number of voxels: 101 planes of 401 x 401 take a minute."""

_POINTS = 3
"""Points per voxel along each axis: a camera pixel integrates light, and a voxel of the estimate stands for the light
in all of it. At the highest frequency, sampled by Nyquist, their mean is 0.667, the integral 0.637."""

_STEPS = 64
"""Distances per wavelength / NA at which an intensity is computed: a cubic spline between them is exact to 2e-5."""


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
    """Return the means over voxels of an intensity at heights and distances from the axis, ``_POINTS`` per voxel."""
    from scipy.interpolate import CubicSpline  # 0.1 s of imports, only for these kinds of PSF

    step = section.wavelength_um / section.numerical_aperture / _STEPS
    table = np.arange(math.ceil(float(distance.max()) / step) + 2, dtype=np.float64) * step
    rows, columns = (n // _POINTS for n in distance.shape)
    planes = []
    for group in heights.reshape(-1, min(_POINTS, heights.size)):
        level = np.zeros(table.size)
        for z in group:
            level += intensity(table, float(z)) / group.size
        fine = CubicSpline(table, level)(distance)
        planes.append(fine.reshape(rows, _POINTS, columns, _POINTS).mean(axis=(1, 3)))
    # a spline may fall below 0 between zeros of the intensity
    return np.asarray(np.maximum(np.stack(planes), 0.0))


def _points(radius: int, size_um: float) -> NDArray[np.float64]:
    """Return the positions of ``_POINTS`` per voxel, relative to the middle of the central one."""
    count = (2 * radius + 1) * _POINTS
    return (np.arange(count) - (count - 1) / 2) * size_um / _POINTS
