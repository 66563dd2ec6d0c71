"""Check that optics and voxel size of a computed PSF can be meant, and compare the sampling with Nyquist's."""

from __future__ import annotations

import math

from ssi_pipeline.config import ComputedPsf, ConfocalPsf, GibsonLanniPsf, LightSheetPsf, TwoPhotonPsf
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.physics.psf import VoxelSize

_WAVELENGTHS_UM = (0.2, 2.0)
"""Light that microscope objectives pass: near ultraviolet to near infrared."""

_LEAST_TWO_PHOTON_UM = 0.5
"""Two photons of less carry the energy of one of 0.25 µm, which glass does not pass."""

_LATERAL_UM = (0.005, 20.0)
"""Pixel sizes in the sample: a camera pixel of 20 um without magnification, and 5 nm, a twentieth of any Nyquist
sampling."""

_AXIAL_UM = (0.005, 200.0)
"""Steps between planes: the depth of field of an aperture of 0.05 is 200 um."""

_COARSEST = 4.0
"""Pixel in units of the Nyquist sampling beyond which the PSF is a single pixel: in widefield, lambda / NA holds the
central peak."""

_SHEET_END = 2 * math.log(2) ** 0.5 * math.log(100) ** 0.5 / math.pi
"""Frequency times FWHM where the transfer function of a Gaussian, exp(-(pi f FWHM)^2 / (4 ln 2)), is 1 %: 1.14."""


def nyquist_um(section: ComputedPsf) -> tuple[float, float]:
    """Return the axial and lateral Nyquist sampling, micrometres: half a period of the highest frequency in the image.

    A pupil passes 2 NA / wavelength laterally and n (1 - cos alpha) / wavelength axially. Where both excitation and
    detection form the image, their frequencies add. A pinhole of p Airy units ends what the detection adds at
    NA / (p wavelength), the first zero of its transfer function; a sheet at 1 % of that of its Gaussian.
    """
    index = section.immersion_index if isinstance(section, GibsonLanniPsf) else section.refractive_index
    sine = min(section.numerical_aperture / index, 1.0)
    lateral = 2 * section.numerical_aperture / section.wavelength_um
    axial = index * (1 - math.sqrt(1 - sine**2)) / section.wavelength_um
    if isinstance(section, TwoPhotonPsf):
        lateral, axial = 2 * lateral, 2 * axial
    elif isinstance(section, LightSheetPsf):
        axial += _SHEET_END / section.sheet_fwhm_um
    elif isinstance(section, ConfocalPsf):
        shift = section.wavelength_um / section.excitation_wavelength_um
        passed = min(1.0, 0.5 / section.pinhole_au) if section.pinhole_au else 1.0
        lateral, axial = lateral * (shift + passed), axial * (shift + passed)
    return 1 / (2 * axial), 1 / (2 * lateral)


def refuse_implausible_optics(section: ComputedPsf, voxel_size_um: VoxelSize, dimensions: int) -> None:
    """Refuse a wavelength, a voxel size or a sampling that cannot be meant.

    Raises
    ------
    InputError
        Says which, and what was probably meant.
    """
    low, high = _WAVELENGTHS_UM
    for name in ("wavelength_um", "excitation_wavelength_um"):
        if name not in type(section).model_fields:
            continue
        least = _LEAST_TWO_PHOTON_UM if isinstance(section, TwoPhotonPsf) else low
        wavelength: float = getattr(section, name)
        if not least <= wavelength <= high:
            raise InputError(
                f"psf.{name} is {wavelength:g}: expected micrometres, {least:g} to {high:g} (light)"
                + _meant(wavelength, least, high, f"psf.{name}")
            )
    refuse_implausible_voxel(voxel_size_um, dimensions)
    ratio = max(voxel_size_um[1:]) / nyquist_um(section)[1]
    if ratio > _COARSEST:
        raise InputError(
            f"a pixel of {max(voxel_size_um[1:]):g} µm is {ratio:.1f} times the Nyquist sampling of "
            f"{nyquist_um(section)[1]:.3g} µm ({section.kind}, NA {section.numerical_aperture:g}): the PSF is a single "
            "pixel, and there is no blur to remove. Check psf.numerical_aperture and input.voxel_size_um; to denoise "
            "only: psf.kind: identity"
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
