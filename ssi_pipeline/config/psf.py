"""Configuration sections of the point spread function."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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


class WidefieldPsf(PsfSection):
    """A widefield PSF, computed from the pupil; ``support_um``: half its size along each axis, by default derived."""

    kind: Literal["widefield"]
    numerical_aperture: Aperture
    wavelength_um: Wavelength
    refractive_index: Index = 1.515
    support_um: dict[SpatialAxis, Length] | None = None
    defocus_um: Annotated[RawFloat, up_to(100_000)] = 0.0

    @model_validator(mode="after")
    def _check(self) -> WidefieldPsf:
        if self.numerical_aperture >= self.refractive_index:
            raise ValueError(
                f"numerical_aperture is {self.numerical_aperture:g}, refractive_index {self.refractive_index:g}: "
                "expected a smaller aperture"
            )
        return self


class GibsonLanniPsf(PsfSection):
    """A widefield PSF with spherical aberration from mismatched sample, cover glass or immersion.

    ``design_*``: design values of the objective, by default the actual values. ``depth_um``: depth of the emitter
    below the cover glass. ``magnification``: of objective and tube lens; null: high.
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
    depth_um: Thickness = 0.0
    defocus_um: Annotated[RawFloat, up_to(100_000)] = 0.0

    @model_validator(mode="after")
    def _check(self) -> GibsonLanniPsf:
        design = self.design_immersion_index or self.immersion_index
        if self.numerical_aperture >= design:
            raise ValueError(
                f"numerical_aperture is {self.numerical_aperture:g}, its design immersion index {design:g}: "
                "expected a smaller aperture"
            )
        return self


class IdentityPsf(Section):
    """No blur: denoising only (Noise2Self)."""

    kind: Literal["identity"]


PsfConfig = Annotated[FilePsf | GaussianPsf | WidefieldPsf | GibsonLanniPsf | IdentityPsf, Field(discriminator="kind")]
