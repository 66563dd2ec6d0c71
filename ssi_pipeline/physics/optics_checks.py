"""Check that optics and voxel size of a computed PSF can be meant, and compare the sampling with Nyquist's."""

from __future__ import annotations

import math

from ssi_pipeline.config import GibsonLanniPsf, WidefieldPsf
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.physics.psf import VoxelSize

_WAVELENGTHS_UM = (0.2, 2.0)
"""Light that microscope objectives pass: near ultraviolet to near infrared."""

_LATERAL_UM = (0.005, 20.0)
"""Pixel sizes in the sample: a camera pixel of 20 um without magnification, and 5 nm, a twentieth of any Nyquist
sampling."""

_AXIAL_UM = (0.005, 200.0)
"""Steps between planes: the depth of field of an aperture of 0.05 is 200 um."""

_COARSEST = 4.0
"""Pixel in units of the Nyquist sampling beyond which the PSF is a single pixel: lambda / NA holds the central peak."""

Optics = WidefieldPsf | GibsonLanniPsf


def nyquist_um(section: Optics) -> tuple[float, float]:
    """Return the axial and lateral Nyquist sampling of a widefield microscope, micrometres."""
    index = section.immersion_index if isinstance(section, GibsonLanniPsf) else section.refractive_index
    sine = min(section.numerical_aperture / index, 1.0)
    axial = section.wavelength_um / (2 * index * (1 - math.sqrt(1 - sine**2)))
    return axial, section.wavelength_um / (4 * section.numerical_aperture)


def refuse_implausible_optics(section: Optics, voxel_size_um: VoxelSize, dimensions: int) -> None:
    """Refuse a wavelength, a voxel size or a sampling that cannot be meant.

    Raises
    ------
    InputError
        Says which, and what was probably meant.
    """
    wavelength = section.wavelength_um
    low, high = _WAVELENGTHS_UM
    if not low <= wavelength <= high:
        raise InputError(
            f"psf.wavelength_um is {wavelength:g}: expected micrometres, {low:g} to {high:g} (light)"
            + _meant(wavelength, low, high, "psf.wavelength_um")
        )
    refuse_implausible_voxel(voxel_size_um, dimensions)
    ratio = max(voxel_size_um[1:]) / nyquist_um(section)[1]
    if ratio > _COARSEST:
        raise InputError(
            f"a pixel of {max(voxel_size_um[1:]):g} µm is {ratio:.1f} times the Nyquist sampling of "
            f"{nyquist_um(section)[1]:.3g} µm (wavelength / 4 NA): the PSF is a single pixel, and there is no blur to "
            "remove. Check psf.numerical_aperture and input.voxel_size_um; to denoise only: psf.kind: identity"
        )


def refuse_implausible_voxel(voxel_size_um: VoxelSize, dimensions: int) -> None:
    """Refuse voxel sizes of no light microscope, along the axes that a tile spans.

    Raises
    ------
    InputError
        Names the axis, and the unit that was probably meant.
    """
    limits = (_AXIAL_UM, _LATERAL_UM, _LATERAL_UM)
    for axis, size, (low, high) in list(zip(SPATIAL, voxel_size_um, limits, strict=True))[3 - dimensions :]:
        if not low <= size <= high:
            raise InputError(
                f"the voxel size is {size:g} µm along {axis}: expected {low:g} to {high:g} µm, as the PSF is given in "
                f"micrometres{_meant(size, low, high, f'input.voxel_size_um.{axis}')}"
            )


def _meant(value: float, low: float, high: float, option: str) -> str:
    """Return a hint to the unit with which a value would be plausible."""
    for factor, unit in ((1e-3, "nanometres"), (1e6, "metres"), (1e3, "millimetres")):
        if low <= value * factor <= high:
            return f". {value:g} is probably in {unit}: set {option}: {value * factor:g}"
    return f". Set {option}"
