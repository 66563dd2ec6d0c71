"""Optical parameters that can be fitted: their names, where they are in a section, and the range that is searched."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import ValidationError

from ssi_pipeline.config import GibsonLanniPsf, PsfConfig, WidefieldPsf, varies
from ssi_pipeline.errors import ConfigError

Pupil = WidefieldPsf | GibsonLanniPsf
"""Kinds that are fitted: the rings of other kinds are too faint to be told."""

Range = tuple[float, float]

OPTIONS = {"defocus": "defocus_um", "na": "numerical_aperture"}
"""Short names, and the options of ``psf`` that they stand for."""

_NOT_TOLD = {
    "fwhm": "a sharper PSF with a smoother scene has the same spectrum: measure beads (ssi psf beads)",
    "depth": "an image shows it only together with the defocus, and the sum was told for the depth: measure beads at "
    "the depth of the sample (ssi psf beads)",
}
"""What users ask for and an image does not tell, and why."""

_DEPTHS = 4.0
"""Range of the defocus in depths of focus, n wavelength / NA^2, at least."""

_APERTURES: Range = (0.6, 1.4)
"""Ends of the range of the aperture as shares of the given value."""

_BELOW = 0.99
"""Largest aperture as a share of the index."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """The free parameter.

    Attributes
    ----------
    section
        Where it is.
    option
        Of ``psf``.
    low, high
        The range that is searched.
    """

    section: Pupil
    option: str
    low: float
    high: float

    @property
    def signed(self) -> bool:
        """Whether the given sign is kept: the defocus, from one plane."""
        return self.option == "defocus_um"

    @property
    def given(self) -> float:
        """Its value in the configuration."""
        return float(getattr(self.section, self.option))


def parameter_of(section: PsfConfig, name: str, asked: Range | None, dimensions: int) -> Parameter:
    """Return the free parameter of a section.

    Parameters
    ----------
    section
        One entry of ``psf``.
    name
        Short name or option.
    asked
        Range in place of the derived one.
    dimensions
        Number of spatial axes of a tile.

    Raises
    ------
    ConfigError
        The kind or the parameter cannot be fitted, the range is not valid, or tiles are 3D.
    """
    option = OPTIONS.get(name, name)
    if option not in OPTIONS.values():
        why = _NOT_TOLD.get(name)
        raise ConfigError(
            f"--free {name}: the image does not tell it: {why}"
            if why
            else f"--free {name}: expected one of {', '.join(OPTIONS)}"
        )
    known = _pupil(section)
    if dimensions == 3:
        raise ConfigError(
            "tiling.dimensions is 3: expected a fit to planes (--set tiling.dimensions=2): of two stacks, an aperture "
            "was found 16 % wrong in one, and the cause was not found"
        )
    return _parameter(known, option, asked)


def changed(section: Pupil, option: str, value: float) -> Pupil:
    """Return the section with another value of an option.

    Raises
    ------
    ConfigError
        The section is not valid with it.
    """
    try:
        return type(section).model_validate({**section.model_dump(exclude_none=True), option: value})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"--range: psf with {option} {value:g} is not valid: {reason}") from error


def _pupil(section: PsfConfig) -> Pupil:
    """Return a section that can be fitted.

    Raises
    ------
    ConfigError
        It is of another kind, or changes along z.
    """
    if not isinstance(section, Pupil):
        raise ConfigError(f"psf.kind {section.kind} cannot be fitted to an image: expected widefield or gibson_lanni")
    if varies(section):
        raise ConfigError(
            "psf.depth_um changes along z: expected one depth, of a configuration with few planes (input.roi)"
        )
    return section


def _parameter(section: Pupil, option: str, asked: Range | None) -> Parameter:
    given = float(getattr(section, option))
    low, high = asked or _range(section, option, given)
    if not -math.inf < low < high < math.inf:
        raise ConfigError(f"--range {low:g} {high:g}: expected low < high")
    if option == "defocus_um" and low < 0 < high:
        raise ConfigError(
            f"--range {low:g} {high:g}: one plane hardly tells the sign of a defocus: expected a range on one side of 0"
        )
    for end in (low, high):
        changed(section, option, end)
    return Parameter(section, option, low, high)


def _range(section: Pupil, option: str, given: float) -> Range:
    """Return the range that is searched where none is asked for."""
    if option == "numerical_aperture":
        low, high = (share * given for share in _APERTURES)
        return low, min(high, _BELOW * _index(section))
    focus = _index(section) * section.wavelength_um / section.numerical_aperture**2
    reach = max(2 * abs(given), _DEPTHS * focus)
    return (-reach, 0.0) if given < 0 else (0.0, reach)


def _index(section: Pupil) -> float:
    if isinstance(section, GibsonLanniPsf):
        return section.design[0]
    return section.refractive_index
