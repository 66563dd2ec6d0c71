"""Configuration sections of the point spread function."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ssi_pipeline.config.section import (
    Float,
    Length,
    Position,
    RawFloat,
    RawPositive,
    Section,
    SpatialAxis,
    VoxelSize,
    up_to,
)

Aperture = Annotated[RawPositive, up_to(4, 1e-3)]
"""Numerical aperture, below any refractive index; objectives have 0.02 to 1.7."""

Index = Annotated[RawPositive, up_to(4, 0.1)]
"""Refractive index; germanium in the infrared has 4."""

Wavelength = Annotated[RawPositive, up_to(1000, 1e-6)]
"""Wavelength in micrometres, from gamma rays to terahertz."""

Thickness = Annotated[RawFloat, Field(ge=0), up_to(1e6)]
"""Thickness of a layer in micrometres: up to a metre."""


class PsfSection(Section):
    """Options common to all kinds of PSF."""

    energy: Annotated[Float, Field(gt=0.5, le=1.0)] = 0.995


class FilePsf(PsfSection):
    """A measured or computed PSF in a TIFF or npy file, 2D (y x) or 3D (z y x)."""

    kind: Literal["file"]
    path: Path
    voxel_size_um: dict[SpatialAxis, VoxelSize] | None = None
    background: Literal["none", "minimum", "border"] | Float = "none"
    center: Literal["middle", "peak", "centroid", "corner"] | None = None
    plane: Literal["sum"] | Position | None = None
    resample: bool = False


class GaussianPsf(PsfSection):
    """A Gaussian PSF, given by its full width at half maximum along each axis."""

    kind: Literal["gaussian"]
    fwhm_um: dict[SpatialAxis, Length] | None = None
    fwhm_px: dict[SpatialAxis, Length] | None = None

    @model_validator(mode="after")
    def _check(self) -> GaussianPsf:
        if (self.fwhm_um is None) == (self.fwhm_px is None):
            raise ValueError("expected exactly one of fwhm_um and fwhm_px")
        return self


class OpticsPsf(PsfSection):
    """Options of the kinds that are computed from one pupil and one index.

    ``support_um``: half of the PSF's size along each axis, by default derived.
    """

    numerical_aperture: Aperture
    refractive_index: Index = 1.515
    support_um: dict[SpatialAxis, Length] | None = None

    @model_validator(mode="after")
    def _check_aperture(self) -> Self:
        if self.numerical_aperture >= self.refractive_index:
            raise ValueError(
                f"numerical_aperture is {self.numerical_aperture:g}, refractive_index {self.refractive_index:g}: "
                "expected a smaller aperture"
            )
        return self


class WidefieldPsf(OpticsPsf):
    """A widefield PSF, computed from the pupil."""

    kind: Literal["widefield"]
    wavelength_um: Wavelength
    defocus_um: Annotated[RawFloat, up_to(100_000)] = 0.0


class ConfocalPsf(OpticsPsf):
    """A confocal PSF: excitation times detection through a pinhole.

    ``wavelength_um``: of the emission. ``pinhole_au``: its diameter in Airy units, 1.22 wavelength / NA of the emission
    in the sample; 0: a point, 10: as good as open.
    """

    kind: Literal["confocal"]
    wavelength_um: Wavelength
    excitation_wavelength_um: Wavelength
    pinhole_au: Annotated[RawFloat, Field(ge=0), up_to(10)] = 1.0

    @model_validator(mode="after")
    def _check_wavelengths(self) -> Self:
        if self.excitation_wavelength_um > self.wavelength_um:
            raise ValueError(
                f"excitation_wavelength_um is {self.excitation_wavelength_um:g}, wavelength_um (emission) "
                f"{self.wavelength_um:g}: expected an excitation that is not longer (two_photon: kind: two_photon)"
            )
        return self


class LightSheetPsf(OpticsPsf):
    """A light-sheet PSF: widefield detection times a sheet across the detection axis, Gaussian along z."""

    kind: Literal["light_sheet"]
    wavelength_um: Wavelength
    sheet_fwhm_um: Length

    @model_validator(mode="after")
    def _check_sheet(self) -> Self:
        thinnest = self.wavelength_um / (4 * self.refractive_index)
        if self.sheet_fwhm_um < thinnest:
            raise ValueError(
                f"sheet_fwhm_um is {self.sheet_fwhm_um:g}: expected the sheet's thickness in micrometres, at least "
                f"{thinnest:.2g} (a quarter of the wavelength in the medium); light cannot be focused into less"
            )
        return self


class TwoPhotonPsf(OpticsPsf):
    """A two-photon PSF: the square of the excitation, all emission is detected."""

    kind: Literal["two_photon"]
    excitation_wavelength_um: Wavelength

    @property
    def wavelength_um(self) -> float:
        """Wavelength that the pupil is computed with."""
        return self.excitation_wavelength_um


class DepthByZ(Section):
    """Depth of the emitters that changes along z: ``at_z0`` in the image's first plane, ``per_um`` for each um of z."""

    at_z0: Thickness = 0.0
    per_um: Annotated[RawFloat, up_to(100, 1e-3)] = 1.0


class GibsonLanniPsf(PsfSection):
    """A widefield PSF with spherical aberration from mismatched sample, cover glass or immersion.

    ``design_*``: design values of the objective, by default the actual values. ``depth_um``: depth of the emitter
    below the cover glass, the same everywhere or by z. ``magnification``: of objective and tube lens; null: high.
    """

    kind: Literal["gibson_lanni"]
    numerical_aperture: Aperture
    wavelength_um: Wavelength
    support_um: dict[SpatialAxis, Length] | None = None
    magnification: Annotated[RawPositive, up_to(10_000)] | None = None
    sample_index: Index = 1.33
    immersion_index: Index = 1.515
    design_immersion_index: Index | None = None
    cover_index: Index = 1.515
    design_cover_index: Index | None = None
    cover_um: Thickness = 170.0
    design_cover_um: Thickness | None = None
    working_distance_um: Length = 150.0
    depth_um: Thickness | DepthByZ = 0.0
    defocus_um: Annotated[RawFloat, up_to(100_000)] = 0.0

    @model_validator(mode="after")
    def _check(self) -> GibsonLanniPsf:
        design, _, _ = self.design
        if self.numerical_aperture >= design:
            raise ValueError(
                f"numerical_aperture is {self.numerical_aperture:g}, its design immersion index {design:g}: "
                "expected a smaller aperture"
            )
        if isinstance(self.depth_um, DepthByZ) and self.depth_um.per_um == 0:
            raise ValueError("depth_um.per_um is 0, the depth does not change: expected depth_um: a number")
        return self

    def at_depth(self, depth_um: float) -> GibsonLanniPsf:
        """Return the section with another depth of the emitters."""
        return self.model_copy(update={"depth_um": depth_um})

    def within(self, support_um: dict[SpatialAxis, float]) -> GibsonLanniPsf:
        """Return the section with another support."""
        return self.model_copy(update={"support_um": support_um})

    def in_focus(self) -> GibsonLanniPsf:
        """Return the section without defocus."""
        return self.model_copy(update={"defocus_um": 0.0})

    @property
    def design(self) -> tuple[float, float, float]:
        """Immersion index, cover index and cover thickness (um) that the objective is made for."""
        cover_um = self.cover_um if self.design_cover_um is None else self.design_cover_um
        return (
            self.design_immersion_index or self.immersion_index,
            self.design_cover_index or self.cover_index,
            cover_um,
        )

    @property
    def depth(self) -> float:
        """Depth of the emitters where it is the same everywhere.

        Raises
        ------
        ValueError
            It changes along z.
        """
        if isinstance(self.depth_um, DepthByZ):
            raise ValueError("the depth changes along z: expected a section with the depth of one place")
        return self.depth_um


class IdentityPsf(Section):
    """No blur: denoising only (Noise2Self)."""

    kind: Literal["identity"]


ComputedPsf = WidefieldPsf | GibsonLanniPsf | ConfocalPsf | LightSheetPsf | TwoPhotonPsf
"""Kinds that are computed from optics, on the image's voxels."""

COMPUTED_KINDS = ("widefield", "gibson_lanni", "confocal", "light_sheet", "two_photon")

Blurring = FilePsf | GaussianPsf | ComputedPsf
"""Kinds of one PSF that blurs."""
