"""The images that the OME-XML of a TIFF describes, in the order of the series of tifffile."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    import tifffile


def ome_pixels(tif: tifffile.TiffFile, scene: int = 0) -> ElementTree.Element | None:
    """Return the ``Pixels`` element of an image in the OME-XML; None if there is none, or it cannot be parsed."""
    image = ome_image(tif, scene)
    return None if image is None else image.find("{*}Pixels")


def ome_image(tif: tifffile.TiffFile, scene: int) -> ElementTree.Element | None:
    """Return the ``Image`` element of a series; None if there is none, or the OME-XML cannot be parsed."""
    found = ome_images(tif.ome_metadata or "")
    return found[scene] if scene < len(found) else None


def ome_images(xml: str) -> list[ElementTree.Element]:
    """Return the ``Image`` elements with pixels in the file, which are the series of tifffile in their order."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return []
    return [image for image in root.iterfind("{*}Image") if image.find("{*}Pixels/{*}TiffData") is not None]
