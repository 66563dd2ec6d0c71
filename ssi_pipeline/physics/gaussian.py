"""Compute a Gaussian PSF from its widths."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import GaussianPsf
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.physics.kernel_size import refuse_many_voxels
from ssi_pipeline.physics.optics_checks import refuse_implausible_voxel
from ssi_pipeline.physics.widths import FWHM_PER_SIGMA

_SUPPORT_SIGMA = 4.5
"""Radius of the support in standard deviations: 7e-6 of a profile lies outside, far less than ``energy`` crops."""

_WIDEST_SIGMA, _NARROWEST_SIGMA = 1000.0, 1e-3


def gaussian_psf(
    section: GaussianPsf, voxel_um: tuple[float, float, float] | None, dimensions: int
) -> NDArray[np.float64]:
    """Return a Gaussian PSF (z y x, odd sizes, sum about 1), integrated over voxels.

    Parameters
    ----------
    section
        Full widths at half maximum, in pixels or micrometres.
    voxel_um
        Voxel size (z y x) in micrometres, or None if unknown.
    dimensions
        Number of spatial axes of a tile; the PSF for 2 has length 1 along z.

    Raises
    ------
    InputError
        A width is missing or out of range, or widths are in micrometres and the voxel size is unknown.
    """
    fwhm = section.fwhm_um or section.fwhm_px or {}
    name = "psf.fwhm_um" if section.fwhm_um else "psf.fwhm_px"
    used = SPATIAL[3 - dimensions :]
    lacking = [axis for axis in used if axis not in fwhm]
    if lacking:
        raise InputError(f"{name} lacks {', '.join(lacking)}: {dimensions}D tiles need a width along {', '.join(used)}")
    if section.fwhm_um and voxel_um is None:
        raise InputError("psf.fwhm_um needs the voxel size, which the image does not state: set input.voxel_size_um")
    if section.fwhm_um and voxel_um:
        refuse_implausible_voxel(voxel_um, dimensions)
    sizes = voxel_um if section.fwhm_um and voxel_um else (1.0, 1.0, 1.0)
    profiles = [
        _profile(fwhm[axis] / size / FWHM_PER_SIGMA) if axis in used else np.ones(1)
        for axis, size in zip(SPATIAL, sizes, strict=True)
    ]
    refuse_many_voxels(name, [len(profile) for profile in profiles])
    z, y, x = np.ix_(*profiles)
    product: NDArray[np.float64] = z * y * x
    return product


def _profile(sigma: float) -> NDArray[np.float64]:
    """Return a Gaussian integrated over pixels: point samples of a narrow one would underestimate its width."""
    if sigma < _NARROWEST_SIGMA:
        raise InputError(
            f"a PSF with a width of {sigma * FWHM_PER_SIGMA:.3g} pixels is no blur: use psf.kind: identity"
        )
    if sigma > _WIDEST_SIGMA:
        raise InputError(
            f"a PSF with a width of {sigma * FWHM_PER_SIGMA:.3g} pixels is wider than any tile: check its unit"
        )
    radius = math.ceil(_SUPPORT_SIGMA * sigma)
    edges = (np.arange(2 * radius + 2) - radius - 0.5) / (sigma * math.sqrt(2))
    # scipy's erf takes a third of a second to import, and `ssi plan` needs nothing else of scipy
    return np.diff([math.erf(edge) for edge in edges.tolist()]) / 2
