"""Voxel size, time step and channels of TIFF files, to copy to the output."""

from __future__ import annotations

import contextlib
from typing import Any
from xml.etree import ElementTree

import tifffile

from ssi_pipeline.physics.lengths import positive, tiff_voxel_um
from ssi_pipeline.storage.outputs.image_metadata import ImageMetadata
from ssi_pipeline.tiff.ome_images import ome_pixels

_TIMES = {"s": "second", "ms": "millisecond", "min": "minute", "h": "hour"}


def read_tiff_metadata(tif: tifffile.TiffFile, scene: int) -> ImageMetadata:
    """Return the metadata of an image in a TIFF at full resolution; empty if there are none."""
    scale = tiff_voxel_um(tif, scene)
    units = dict.fromkeys(scale, "micrometer")
    step, unit, omero = None, "s", {}
    pixels = ome_pixels(tif, scene) if tif.is_ome else None
    if pixels is not None:
        step, unit = positive(pixels.get("TimeIncrement")), pixels.get("TimeIncrementUnit", "s")
        channels = [_channel(element) for element in pixels.findall("{*}Channel")]
        omero = {"channels": channels} if any(channels) else {}
    elif tif.is_imagej:
        step = positive((tif.imagej_metadata or {}).get("finterval"))
    if step is not None and unit in _TIMES:
        scale["t"], units["t"] = step, _TIMES[unit]
    return ImageMetadata(units, scale, {}, omero)


def _channel(element: ElementTree.Element) -> dict[str, Any]:
    channel: dict[str, Any] = {}
    if element.get("Name"):
        channel["label"] = element.get("Name")
    with contextlib.suppress(ValueError):
        # a signed 32-bit integer of the bytes R G B A
        channel["color"] = f"{int(element.get('Color', '')) & 0xFFFFFFFF:08X}"[:6]
    return channel
