"""Convert units of length, and read the voxel size of a TIFF file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    import tifffile

from ssi_pipeline.tiff.ome_images import ome_pixels

MICROMETRES = {
    "angstrom": 1e-4,
    "Å": 1e-4,
    "picometer": 1e-6,
    "pm": 1e-6,
    "nanometer": 1e-3,
    "nm": 1e-3,
    "micrometer": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "um": 1.0,
    "µm": 1.0,  # micro sign
    "μm": 1.0,  # greek mu
    "millimeter": 1e3,
    "mm": 1e3,
    "centimeter": 1e4,
    "cm": 1e4,
    "meter": 1e6,
    "m": 1e6,
    "inch": 25400.0,
    "in": 25400.0,
}
"""Micrometres per unit, by the unit's name in OME-Zarr, OME-XML and ImageJ."""

_RESOLUTION_UNITS = {2: "inch", 3: "centimeter"}

_MAX_PIXEL_UM = 20.0
"""Larger pixel sizes are a default for printing (72 dpi is 353 µm, 1200 dpi is 21 µm)."""


def tiff_voxel_um(tif: tifffile.TiffFile, scene: int = 0) -> dict[str, float]:
    """Return the voxel size in micrometres by axis letter, at full resolution, of axes with a credible value."""
    if tif.is_ome:
        pixels = ome_pixels(tif, scene)
        return _from_ome(pixels) if pixels is not None else {}
    page = tif.series[scene].keyframe if scene else tif.pages.first
    if tif.is_imagej:
        return _from_imagej(page, tif.imagej_metadata or {})
    return _from_resolution(page)


def positive(value: Any) -> float | None:
    """Return a value as a finite number above 0, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _from_ome(pixels: ElementTree.Element) -> dict[str, float]:
    sizes = {}
    for axis in "zyx":
        size = positive(pixels.get(f"PhysicalSize{axis.upper()}"))
        unit = pixels.get(f"PhysicalSize{axis.upper()}Unit", "µm")
        if size is not None and unit in MICROMETRES:
            sizes[axis] = size * MICROMETRES[unit]
    return sizes


def _from_imagej(page: Any, info: dict[str, Any]) -> dict[str, float]:
    unit = str(info.get("unit", "")).replace("\\u00B5", "µ").replace("\\u00b5", "µ")
    if unit not in MICROMETRES:
        return {}
    sizes = {"z": positive(info.get("spacing")), "y": _pixel(page, "YResolution"), "x": _pixel(page, "XResolution")}
    return {axis: size * MICROMETRES[unit] for axis, size in sizes.items() if size is not None}


def _from_resolution(page: Any) -> dict[str, float]:
    tag = page.tags.get("ResolutionUnit")
    unit = _RESOLUTION_UNITS.get(int(tag.value)) if tag is not None else None
    y, x = _pixel(page, "YResolution"), _pixel(page, "XResolution")
    if unit is None or y is None or x is None:
        return {}
    sizes = {"y": y * MICROMETRES[unit], "x": x * MICROMETRES[unit]}
    return sizes if max(sizes.values()) <= _MAX_PIXEL_UM else {}


def _pixel(page: Any, name: str) -> float | None:
    """Return the pixel size in the unit of the resolution; the tag holds pixels per unit as a fraction."""
    tag = page.tags.get(name)
    try:
        pixels, lengths = tag.value if tag is not None else (0, 1)
        return positive(lengths / pixels)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
