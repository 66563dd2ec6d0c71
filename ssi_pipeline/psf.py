"""Point spread functions for ``deconvolve`` and ``Inverse``: the kinds of the configuration as functions.

>>> import ssi_pipeline as ssi
>>> ssi.psf.gaussian(fwhm_px=2.5).kind
'gaussian'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from numpy.typing import NDArray
from pydantic import BaseModel

from ssi_pipeline.config import (
    ConfocalPsf,
    FilePsf,
    GaussianPsf,
    GibsonLanniPsf,
    IdentityPsf,
    LightSheetPsf,
    PsfConfig,
    RunConfig,
    TwoPhotonPsf,
    VaryingPsf,
    WidefieldPsf,
    parse_config,
)
from ssi_pipeline.errors import ConfigError

__all__ = [
    "confocal",
    "gaussian",
    "gibson_lanni",
    "identity",
    "light_sheet",
    "measured",
    "two_photon",
    "varying",
    "widefield",
]

Lengths = float | Sequence[float] | Mapping[str, float]
"""One length for y and x, several in the order (z) y x, or by axis."""


@dataclass(frozen=True)
class MeasuredPsf:
    """A PSF in memory, (z) y x, and how it is prepared."""

    values: NDArray[Any]
    section: FilePsf


def gaussian(fwhm_um: Lengths | None = None, *, fwhm_px: Lengths | None = None, **options: Any) -> GaussianPsf:
    """Return a Gaussian PSF from its full widths at half maximum, in micrometres or in pixels.

    >>> gaussian((0.8, 0.3, 0.3)).fwhm_um
    {'z': 0.8, 'y': 0.3, 'x': 0.3}
    """
    widths = {"fwhm_um": by_axis(fwhm_um), "fwhm_px": by_axis(fwhm_px)}
    return cast(GaussianPsf, _made("gaussian", widths | options))


def widefield(numerical_aperture: float, wavelength_um: float, **options: Any) -> WidefieldPsf:
    """Return the PSF of a widefield microscope; ``options``: of ``psf.kind: widefield``, as ``refractive_index``."""
    given = {"numerical_aperture": numerical_aperture, "wavelength_um": wavelength_um}
    return cast(WidefieldPsf, _made("widefield", given | options))


def gibson_lanni(numerical_aperture: float, wavelength_um: float, **options: Any) -> GibsonLanniPsf:
    """Return a widefield PSF with spherical aberration; ``options``: of ``psf.kind: gibson_lanni``."""
    given = {"numerical_aperture": numerical_aperture, "wavelength_um": wavelength_um}
    return cast(GibsonLanniPsf, _made("gibson_lanni", given | options))


def confocal(
    numerical_aperture: float,
    wavelength_um: float,
    excitation_wavelength_um: float,
    pinhole_au: float = 1.0,
    **options: Any,
) -> ConfocalPsf:
    """Return a confocal PSF, its pinhole in Airy units; ``options``: of ``psf.kind: confocal``.

    >>> import ssi_pipeline as ssi
    >>> ssi.psf.confocal(1.3, 0.52, 0.488, pinhole_au=0.8).pinhole_au
    0.8
    """
    given = {
        "numerical_aperture": numerical_aperture,
        "wavelength_um": wavelength_um,
        "excitation_wavelength_um": excitation_wavelength_um,
        "pinhole_au": pinhole_au,
    }
    return cast(ConfocalPsf, _made("confocal", given | options))


def light_sheet(numerical_aperture: float, wavelength_um: float, sheet_fwhm_um: float, **options: Any) -> LightSheetPsf:
    """Return a light-sheet PSF, detection times sheet; ``options``: of ``psf.kind: light_sheet``."""
    given = {
        "numerical_aperture": numerical_aperture,
        "wavelength_um": wavelength_um,
        "sheet_fwhm_um": sheet_fwhm_um,
    }
    return cast(LightSheetPsf, _made("light_sheet", given | options))


def two_photon(numerical_aperture: float, excitation_wavelength_um: float, **options: Any) -> TwoPhotonPsf:
    """Return a two-photon PSF, the square of the excitation; ``options``: of ``psf.kind: two_photon``."""
    given = {"numerical_aperture": numerical_aperture, "excitation_wavelength_um": excitation_wavelength_um}
    return cast(TwoPhotonPsf, _made("two_photon", given | options))


def varying(by: Sequence[Mapping[str, Any]]) -> VaryingPsf:
    """Return PSFs of ranges of z, y and x, interpolated between their middles: ``[{"z": (0, 40), "psf": ...}, ...]``.

    A PSF is a section, as the functions here return; measured ones are files.

    >>> import ssi_pipeline as ssi
    >>> near, far = ssi.psf.gaussian(fwhm_px=2), ssi.psf.gaussian(fwhm_px=3)
    >>> len(ssi.psf.varying([{"z": (0, 40), "psf": near}, {"z": (40, 80), "psf": far}]).by)
    2
    """
    if any(isinstance(part.get("psf"), MeasuredPsf) for part in by):
        raise ConfigError("ssi.psf.varying: a part has a PSF in memory: expected a file, ssi.psf.measured(path)")
    parts = [
        {key: value.model_dump(mode="json") if isinstance(value, BaseModel) else value for key, value in part.items()}
        for part in by
    ]
    return cast(VaryingPsf, _made("varying", {"by": parts}))


def measured(
    values: NDArray[Any] | str | Path,
    *,
    voxel_size_um: Lengths | None = None,
    background: Literal["none", "minimum", "border"] | float = "none",
    center: Literal["middle", "peak", "centroid", "corner"] | None = None,
    plane: Literal["sum"] | int | None = None,
    resample: bool = False,
    energy: float = 0.995,
) -> MeasuredPsf | FilePsf:
    """Return a measured PSF, an array (z) y x or a file; the options are those of ``psf.kind: file``."""
    given: dict[str, Any] = {
        "voxel_size_um": by_axis(voxel_size_um),
        "background": background,
        "center": center,
        "plane": plane,
        "resample": resample,
        "energy": energy,
    }
    if isinstance(values, str | Path):
        return cast(FilePsf, _made("file", {"path": str(values), **given}))
    return MeasuredPsf(values, cast(FilePsf, _made("file", {"path": "array", **given})))


def identity() -> IdentityPsf:
    """Return no blur, for denoising alone."""
    return cast(IdentityPsf, _made("identity", {}))


def by_axis(lengths: Lengths | None) -> dict[str, float] | None:
    """Return lengths by axis: of one number y and x, of several (z) y x."""
    if lengths is None:
        return None
    if isinstance(lengths, Mapping):
        return {str(axis): float(length) for axis, length in lengths.items()}
    values = [float(lengths)] * 2 if isinstance(lengths, float | int) else [float(n) for n in lengths]
    return dict(zip("zyx"[3 - len(values) :], values, strict=True))


def __dir__() -> list[str]:
    """Return the functions that make a PSF."""
    return __all__


def _made(kind: str, options: Mapping[str, Any]) -> PsfConfig:
    """Return a section of the configuration, with the errors of a configuration."""
    given = {key: value for key, value in options.items() if value is not None}
    document = {"input": {"path": "array"}, "output": {"path": "array.zarr"}, "psf": {"kind": kind, **given}}
    config: RunConfig = parse_config(document, name=f"ssi.psf.{kind}")
    return config.psf[0]
