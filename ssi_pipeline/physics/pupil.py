"""Compute the PSF of a widefield microscope from a scalar integral over the pupil.

This is the model of Gibson and Lanni (J. Opt. Soc. Am. A 9, 154, 1992) with immersion, cover glass and sample at their
design values, so that defocus is the only aberration. A scalar model is too narrow by a few percent at the highest
apertures: prefer a measured PSF.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import GibsonLanniPsf, WidefieldPsf
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.physics.kernel_size import refuse_many_voxels
from ssi_pipeline.physics.optics_checks import refuse_implausible_optics
from ssi_pipeline.physics.psf import VoxelSize
from ssi_pipeline.physics.psf_support import Intensity, support_um

_PUPIL_RINGS = 1000
"""Midpoints of the integral over the pupil radius; 2000 change it by less than 1e-6 at 5 um of defocus."""

_RHO = (np.arange(_PUPIL_RINGS) + 0.5) / _PUPIL_RINGS

_RADII = 5000
"""Distances from the axis computed at a time: 40 MB."""

_MOST_VOXELS = 2**24
"""Largest number of voxels: 101 planes of 401 x 401 take minutes."""

_SUBPIXELS = 3
"""Points per pixel along y and x: a camera pixel integrates, here over 3 x 3 points."""


def pupil_intensity(
    radius_um: NDArray[np.float64], wavelength_um: float, numerical_aperture: float, index: float, defocus_um: float
) -> NDArray[np.float64]:
    """Return the intensity at distances from the optical axis in one plane, up to a factor common to all planes.

    Parameters
    ----------
    radius_um
        Distances from the axis in micrometres, any shape.
    wavelength_um
        Emission wavelength in vacuum, micrometres.
    numerical_aperture, index
        Of the objective, and the refractive index of the medium.
    defocus_um
        Distance of the plane from the focus in micrometres.

    Returns
    -------
    intensity
        float64, >= 0, shape of ``radius_um``. Its integral over a plane does not depend on the defocus.
    """
    k = 2 * np.pi / wavelength_um
    phase = k * index * defocus_um * np.sqrt(1 - (numerical_aperture * _RHO / index) ** 2)
    wave = np.stack([np.cos(phase), np.sin(phase)], axis=1) * _RHO[:, None]
    distinct, where = np.unique(radius_um, return_inverse=True)
    parts = np.array_split(distinct, -(-distinct.size // _RADII))
    field = np.concatenate([_bessel(part.tobytes(), k * numerical_aperture) @ wave for part in parts])
    intensity = np.square(field).sum(axis=1)
    return np.asarray(intensity[where].reshape(radius_um.shape))


@lru_cache(maxsize=4)
def _bessel(radii_um: bytes, scale: float) -> NDArray[np.float64]:
    """Return J0 at distances times pupil radii; kept for the other planes of a PSF, as it takes most of the time."""
    from scipy.special import j0  # 0.2 s of imports, only for this kind of PSF

    return np.asarray(j0(scale * np.frombuffer(radii_um)[:, None] * _RHO))


def widefield_psf(
    section: WidefieldPsf, voxel_size_um: VoxelSize | None, dimensions: int, planes: int | None = None
) -> NDArray[np.float64]:
    """Return the widefield PSF on the image's grid; see ``on_grid``."""

    def intensity(radius_um: NDArray[np.float64], z_um: float) -> NDArray[np.float64]:
        """Return the intensity at distances from the axis, in the plane at ``z_um`` from the central one."""
        return pupil_intensity(
            radius_um,
            section.wavelength_um,
            section.numerical_aperture,
            section.refractive_index,
            section.defocus_um + z_um,
        )

    return on_grid(section, intensity, voxel_size_um, dimensions, planes)


def on_grid(
    section: WidefieldPsf | GibsonLanniPsf,
    intensity: Intensity,
    voxel_size_um: VoxelSize | None,
    dimensions: int,
    image_planes: int | None = None,
) -> NDArray[np.float64]:
    """Sample an intensity on the image's grid: z y x, odd sizes, integrated over pixels along y and x.

    Parameters
    ----------
    section
        Optics; ``support_um`` overrides the radius of the PSF along each axis.
    intensity
        Function of distances from the axis and height above the central plane, micrometres.
    voxel_size_um
        Voxel size (z y x), or None if unknown.
    dimensions
        Number of spatial axes of a tile; the PSF for 2 has length 1 along z.
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
    y, x = (_fine_positions(n, size) for n, size in zip(radius[1:], voxel_size_um[1:], strict=True))
    distance = np.hypot(y[:, None], x[None, :])
    planes = []
    for z in range(-radius[0], radius[0] + 1):
        fine = intensity(distance, z * voxel_size_um[0])
        rows, columns = (2 * n + 1 for n in radius[1:])
        planes.append(fine.reshape(rows, _SUBPIXELS, columns, _SUBPIXELS).mean(axis=(1, 3)))
    return np.stack(planes)


def _fine_positions(radius: int, pixel_um: float) -> NDArray[np.float64]:
    count = (2 * radius + 1) * _SUBPIXELS
    return (np.arange(count) - (count - 1) / 2) * pixel_um / _SUBPIXELS
