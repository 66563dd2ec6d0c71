"""A Gaussian PSF by its widths."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import GaussianPsf
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.physics.kernel_size import refuse_many_voxels
from ssi_pipeline.physics.widths import FWHM_PER_SIGMA

_SUPPORT_SIGMA = 4.5
"""A Gaussian is cut where 7e-6 of it is left along an axis, far below what ``energy`` cuts away."""

_WIDEST_SIGMA, _NARROWEST_SIGMA = 1000.0, 1e-3


def gaussian_psf(
    section: GaussianPsf, voxel_um: tuple[float, float, float] | None, dimensions: int
) -> NDArray[np.float64]:
    """Return the PSF (z y x, odd sizes), integrated over voxels.

    Raises
    ------
    InputError
        A width is missing or absurd, or the voxel size is unknown and the widths are in micrometres.
    """
    fwhm = section.fwhm_um or section.fwhm_px or {}
    name = "psf.fwhm_um" if section.fwhm_um else "psf.fwhm_px"
    used = SPATIAL[3 - dimensions :]
    lacking = [axis for axis in used if axis not in fwhm]
    if lacking:
        raise InputError(f"{name} lacks {', '.join(lacking)}: {dimensions}D tiles need a width along {', '.join(used)}")
    if section.fwhm_um and voxel_um is None:
        raise InputError("psf.fwhm_um needs the voxel size, which the image does not state: set input.voxel_size_um")
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
    """Integrals of a Gaussian over pixels; point samples of a narrow one would be too narrow."""
    if sigma < _NARROWEST_SIGMA:
        raise InputError(
            f"a PSF with a width of {sigma * FWHM_PER_SIGMA:.3g} pixels is no blur: use psf.kind: identity"
        )
    if sigma > _WIDEST_SIGMA:
        raise InputError(
            f"a PSF with a width of {sigma * FWHM_PER_SIGMA:.3g} pixels is wider than any tile: check its unit"
        )
    from scipy.special import erf  # a fifth of a second of imports, for this kind of PSF alone

    radius = math.ceil(_SUPPORT_SIGMA * sigma)
    edges = (np.arange(2 * radius + 2) - radius - 0.5) / (sigma * math.sqrt(2))
    return np.diff(np.asarray(erf(edges), dtype=np.float64)) / 2
