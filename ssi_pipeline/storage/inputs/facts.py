"""What is in an image file, for a person: format, axes, chunks, levels, optics, and values of one plane."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from ssi_pipeline.config.url import Place, Url
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry import Box, Volume
from ssi_pipeline.physics.lengths import MICROMETRES, positive
from ssi_pipeline.storage.inputs.box_source import BoxSource
from ssi_pipeline.storage.inputs.source import open_source
from ssi_pipeline.storage.inputs.source_protocol import Source, SourceSpec
from ssi_pipeline.storage.outputs.ome import image_document

_SIDE = 4096
"""Largest side of the part of a plane whose values are read."""

_GUESSES = ("zyx", "czyx")
"""Axes with which a file that does not name its own is opened, to show its shape."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How an image is stored: ``chunk`` and ``levels`` in the order of the file; ``version``: of its OME metadata."""

    format: str
    version: str | None
    chunk: tuple[int, ...]
    shard: tuple[int, ...] | None
    levels: tuple[tuple[int, ...], ...]
    optics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file says of itself.

    ``unnamed``: why its axes are unknown; the volume then has likely ones. ``known_um``: voxel size by axis, as far
    as known.
    """

    path: Place
    volume: Volume
    known_um: Mapping[str, float]
    unnamed: str
    layout: Layout
    notes: tuple[str, ...]
    scene: int | None = None

    @property
    def lacking_um(self) -> list[str]:
        """Spatial axes of the image without a voxel size."""
        return [axis for axis in "zyx" if axis in self.volume.axes and axis not in self.known_um]


def read_facts(path: Place, level: int = 0, axes: str | None = None, scene: int | None = None) -> Facts:
    """Return what is known of an image from its metadata.

    Raises
    ------
    InputError
        It is missing, damaged or not supported.
    """
    source, unnamed = _open(SourceSpec(_whole(path), level, axes, scene=scene))
    scale, units = source.metadata.scale, source.metadata.axes_units
    known = {axis: float(size) for axis, size in scale.items() if units.get(axis) == "micrometer"}
    layout = _layout(path, source, scene)
    return Facts(path, source.volume, known, unnamed, layout, source.notes, scene)


def _whole(path: Place) -> str | Url:
    return path if isinstance(path, Url) else str(path.resolve())


def _open(spec: SourceSpec) -> tuple[Source, str]:
    """Open a source, also where it does not name its axes; returns the reason then."""
    try:
        return open_source(spec), ""
    except InputError as error:
        if spec.axes is not None or "input.axes" not in str(error):
            raise
        for guess in _GUESSES:
            try:
                return open_source(replace(spec, axes=guess)), str(error)
            except InputError:
                continue
        raise


def _layout(path: Place, source: Source, scene: int | None) -> Layout:
    if isinstance(source, BoxSource):
        image = source.image
        return Layout(image.kind, None, image.shape[-2:], None, (image.shape,), image.optics)
    if isinstance(path, Url) or path.is_dir():
        return _zarr_layout(path)
    if not path.exists():
        shape = source.volume.shape
        return Layout("files by pattern", None, shape[-2:], None, (shape,), {})
    return _tiff_layout(path, scene)


def _zarr_layout(path: Place) -> Layout:
    from ssi_pipeline.storage.inputs.zarr_image import find_image, list_levels

    image = find_image(path, 0, f"input {path}")
    array, kind = image.array, f"zarr v{image.node.zarr_format}"
    if image.group is None:
        return Layout(f"{kind} array", None, array.chunks, array.shards, (array.shape,), {})
    document = image_document(image.group.attributes)
    version = str(document.get("version", document["multiscales"][0].get("version", "unknown")))
    levels = tuple(list_levels(image.group, document))
    return Layout(f"OME-Zarr, {kind}", version, array.chunks, array.shards, levels, {})


def _tiff_layout(path: Path, scene: int | None) -> Layout:
    from ssi_pipeline.tiff.ome_images import ome_image
    from ssi_pipeline.tiff.opening import open_tiff

    opened = open_tiff(path, f"input {path}", scene)
    with closing(opened.tif) as tif:
        image = ome_image(tif, opened.scene) if tif.is_ome else None
        key = opened.image.keyframe
        kind = "OME-TIFF" if tif.is_ome else "ImageJ TIFF" if tif.is_imagej else "TIFF"
        packing = tifffile.COMPRESSION(key.compression)
        packed = "" if packing == 1 else f", {packing.name.lower()}"
        version = None if image is None else image.tag.partition("}")[0].rpartition("/")[2]
        optics = {} if image is None else _optics(image, tif.ome_metadata or "")
        levels = tuple(tuple(series.shape) for series in opened.image.levels)
        return Layout(f"{kind}{packed}", version, tuple(key.chunks), None, levels, optics)


def _optics(image: Any, xml: str) -> dict[str, float]:
    """Return numerical aperture, emission wavelength (of one channel) and immersion index, where OME-XML has them."""
    from xml.etree import ElementTree

    document = ElementTree.fromstring(xml)
    settings = image.find("{*}ObjectiveSettings")
    objectives = document.findall(".//{*}Objective")
    own = [o for o in objectives if settings is not None and o.get("ID") == settings.get("ID")]
    objective = next(iter(own or objectives), None)
    waves = {_wavelength(channel) for channel in image.findall("{*}Pixels/{*}Channel")}
    found = {
        "na": positive(None if objective is None else objective.get("LensNA")),
        "wavelength_um": waves.pop() if len(waves) == 1 else None,
        "immersion": positive(None if settings is None else settings.get("RefractiveIndex")),
    }
    return {name: value for name, value in found.items() if value is not None}


def _wavelength(channel: Any) -> float | None:
    value, unit = positive(channel.get("EmissionWavelength")), channel.get("EmissionWavelengthUnit", "nm")
    return value * MICROMETRES[unit] if value is not None and unit in MICROMETRES else None


def plane_values(facts: Facts, level: int, axes: str | None) -> tuple[str, list[float]]:
    """Read the middle plane (its middle part, if it is large); return its name, and minimum, median and maximum.

    Raises
    ------
    CorruptDataError, InputError
        It cannot be read.
    """
    source, _ = _open(SourceSpec(_whole(facts.path), level, axes, scene=facts.scene))
    t, c, z, y, x = source.volume.shape
    spans = [_middle(n) for n in (y, x)]
    box = Box((z // 2, *(a for a, _ in spans)), (z // 2 + 1, *(b for _, b in spans)))
    values = source.read(t // 2, c // 2, box).astype(np.float64)
    finite = values[np.isfinite(values)]
    part = "" if values.size == y * x else f", middle {_SIDE} pixels"
    named = zip("tcz", (t // 2, c // 2, z // 2), strict=True)
    place = ", ".join(f"{axis} {index}" for axis, index in named if axis in source.volume.axes)
    three = [float(v) for v in np.quantile(finite, [0, 0.5, 1])] if finite.size else []
    return f"plane {place or 'of the image'}{part}", three


def _middle(length: int) -> tuple[int, int]:
    start = max(0, (length - _SIDE) // 2)
    return start, min(length, start + _SIDE)
