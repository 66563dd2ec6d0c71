"""Validation of voxel sizes, time steps and units in image metadata."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.storage.outputs.image_metadata import ImageMetadata

_SMALL = ("yocto", "zepto", "atto", "femto", "pico", "nano", "micro", "milli", "centi", "deci")
_LARGE = ("hecto", "kilo", "mega", "giga", "tera", "peta", "exa", "zetta", "yotta")
_PREFIXES = (*_SMALL, *_LARGE)
_LENGTHS = frozenset({"meter", "angstrom", "foot", "inch", "mile", "parsec", "yard", *(f"{p}meter" for p in _PREFIXES)})
_TIMES = frozenset({"second", "minute", "hour", "day", *(f"{p}second" for p in _PREFIXES)})
"""Units of OME-Zarr (0.4 and 0.5, section "axes"); readers refuse others."""

_TIME_ALIASES = {
    **dict.fromkeys(("s", "sec", "secs", "seconds"), "second"),
    **dict.fromkeys(("ms", "msec", "milliseconds"), "millisecond"),
    **dict.fromkeys(("us", "µs", "μs", "microseconds"), "microsecond"),
    **dict.fromkeys(("min", "mins", "minutes"), "minute"),
    **dict.fromkeys(("h", "hr", "hours"), "hour"),
    **dict.fromkeys(("d", "days"), "day"),
}

_LARGEST = 1e30
"""Scales lie between 1 / this and this, in any unit: otherwise products with sizes overflow or underflow."""


def believable(metadata: ImageMetadata, given: Collection[str], where: str) -> ImageMetadata:
    """Return the metadata without implausible scales, translations and units.

    A scale of 0, NaN or infinity means unknown: the output then has scale 1 and no unit.

    Parameters
    ----------
    given
        Axes whose voxel size is set by the user.
    where
        The file, for messages.

    Raises
    ------
    InputError
        A spatial scale is negative: the orientation of the PSF is then ambiguous.
    """
    for axis in SPATIAL:
        size = metadata.scale.get(axis, 1.0)
        if -_LARGEST < size < 0 and axis not in given:
            raise InputError(
                f"{where}: the scale along {axis} is {size:g}, expected a number above 0. Correct the metadata of the "
                f"file, or set input.voxel_size_um: then {axis} increases in storage order"
            )
    scale = {a: v for a, v in metadata.scale.items() if 1 / _LARGEST < v < _LARGEST}
    known = {*scale, *given}
    shift = {a: v for a, v in metadata.translation.items() if abs(v) < _LARGEST and a in known}
    units = {a: unit for a, u in metadata.axes_units.items() if (unit := _unit(a, u)) and a in known}
    return replace(metadata, axes_units=units, scale=scale, translation=shift)


def _unit(axis: str, unit: str) -> str | None:
    """Return the OME-Zarr name of a unit, or None, as for pixels."""
    if axis == "t":
        name = _TIME_ALIASES.get(unit, unit)
        return name if name in _TIMES else None
    return unit if axis in SPATIAL and unit in _LENGTHS else None


def describe_voxel_size(size_um: tuple[float, float, float] | None, axes: str) -> str:
    """Format the voxel size for the plan, so that an ignored one is noticed."""
    if size_um is None:
        return "unknown: lengths are in pixels (set input.voxel_size_um)"
    named = zip(SPATIAL, size_um, strict=True)
    shown = [(axis, f"{size:g}") for axis, size in named if axis in axes]
    return f"{' x '.join(size for _, size in shown)} um ({' '.join(axis for axis, _ in shown)})"
