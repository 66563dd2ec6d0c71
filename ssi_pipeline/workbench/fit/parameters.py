"""Optical parameters that can be fitted: their names, where they are in a section, and the range that is searched."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ssi_pipeline.config import ComputedPsf, GaussianPsf, GibsonLanniPsf, PsfConfig, varies
from ssi_pipeline.errors import ConfigError

Section = GaussianPsf | ComputedPsf

Range = tuple[float, float]

OPTIONS = {
    "defocus": "defocus_um",
    "na": "numerical_aperture",
    "depth": "depth_um",
    "fwhm": "fwhm_px",
    "pinhole": "pinhole_au",
    "sheet": "sheet_fwhm_um",
    "index": "sample_index",
}
"""Short names, and the options of ``psf`` that they stand for; ``fwhm_um`` where the section has that."""

_DEPTHS = 4.0
"""Range of the defocus in depths of focus, n wavelength / NA^2, at least."""

_SHARES: dict[str, Range] = {
    "numerical_aperture": (0.6, 1.4),
    "fwhm_px": (0.4, 2.0),
    "fwhm_um": (0.4, 2.0),
    "pinhole_au": (0.2, 3.0),
    "sheet_fwhm_um": (0.4, 2.5),
}
"""Ends of the ranges as shares of the given value."""

_DEEP_UM = 20.0
_INDICES: Range = (1.3, 1.56)
"""Sample indices from water to glass."""

_BELOW = 0.99
"""Largest aperture as a share of the index."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """The free parameter.

    Attributes
    ----------
    option
        Of ``psf``.
    given
        Its value in the configuration; of a width along several axes that along x, the others keep their ratio to it.
    low, high
        The range that is searched.
    """

    option: str
    given: float
    low: float
    high: float

    @property
    def signed(self) -> bool:
        """Whether the given sign is kept: the defocus, from one plane."""
        return self.option == "defocus_um"


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
        The kind has no such parameter, the range is not valid, or tiles are 3D.
    """
    known = _fittable(section)
    option = "fwhm_um" if name == "fwhm" and "fwhm_um" in known else OPTIONS.get(name, name)
    if option not in known:
        raise ConfigError(
            f"--free {name}: psf.kind {section.kind} has no such parameter: expected one of {', '.join(_short(known))}"
        )
    if dimensions == 3:
        raise ConfigError(
            "tiling.dimensions is 3: expected a fit to planes (--set tiling.dimensions=2): of two stacks, an aperture "
            "was found 16 % wrong in one, and the cause was not found"
        )
    return _parameter(known[option], option, asked)


def changed(section: Section, option: str, value: float) -> Section:
    """Return the section with another value of an option.

    Raises
    ------
    ConfigError
        The section is not valid with it.
    """
    given = section.model_dump(exclude_none=True)
    try:
        return type(section).model_validate({**given, option: with_value(given[option], value)})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"--range: psf with {option} {value:g} is not valid: {reason}") from error


def with_value(old: Any, value: float) -> Any:
    """Return a value in the form of the old one: widths along several axes keep their ratio to that along x."""
    if not isinstance(old, dict):
        return value
    return {axis: float(f"{width * value / old['x']:.9g}") for axis, width in old.items()}


def _fittable(section: PsfConfig) -> dict[str, Section]:
    """Return the options of a section that can be fitted, each with the section."""
    if not isinstance(section, Section):
        what = {"file": "a measured PSF", "identity": "no PSF"}.get(section.kind, "several PSFs")
        raise ConfigError(
            f"psf.kind {section.kind} is {what}, without optical parameters to fit: expected gaussian, widefield, "
            "gibson_lanni, confocal, light_sheet or two_photon"
        )
    if varies(section):
        raise ConfigError(
            "psf.depth_um changes along z: expected one depth, of a configuration with few planes (input.roi)"
        )
    options = (*OPTIONS.values(), "fwhm_um")
    return {option: section for option in options if getattr(section, option, None) is not None}


def _short(known: Mapping[str, Section]) -> list[str]:
    return [
        "fwhm" if option.startswith("fwhm") else next(n for n, o in OPTIONS.items() if o == option) for option in known
    ]


def _parameter(section: Section, option: str, asked: Range | None) -> Parameter:
    value = getattr(section, option)
    given = float(value["x"] if isinstance(value, dict) else value)
    low, high = asked or _range(section, option, given)
    if not -math.inf < low < high < math.inf:
        raise ConfigError(f"--range {low:g} {high:g}: expected low < high")
    if option == "defocus_um" and low < 0 < high:
        raise ConfigError(
            f"--range {low:g} {high:g}: one plane hardly tells the sign of a defocus: expected a range on one side of 0"
        )
    for end in (low, high):
        changed(section, option, end)
    return Parameter(option, given, low, high)


def _range(section: Section, option: str, given: float) -> Range:
    """Return the range that is searched where none is asked for."""
    if option in _SHARES:
        low, high = (share * given for share in _SHARES[option])
        if option == "numerical_aperture" and not isinstance(section, GaussianPsf):
            return low, min(high, _BELOW * _index(section))
        if option == "pinhole_au":
            return low, min(max(high, 1.0), 10.0)
        return low, high
    if option == "depth_um":
        return 0.0, max(2 * given, _DEEP_UM)
    if option == "sample_index":
        return _INDICES
    assert not isinstance(section, GaussianPsf)
    focus = _index(section) * section.wavelength_um / section.numerical_aperture**2
    reach = max(2 * abs(given), _DEPTHS * focus)
    return (-reach, 0.0) if given < 0 else (0.0, reach)


def _index(section: ComputedPsf) -> float:
    if isinstance(section, GibsonLanniPsf):
        return section.design_immersion_index or section.immersion_index
    return section.refractive_index
