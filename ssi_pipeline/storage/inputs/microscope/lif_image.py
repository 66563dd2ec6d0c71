"""Leica LIF, read by the library liffile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from liffile import LifFile, LifImage
from numpy.typing import NDArray

from ssi_pipeline.errors import InputError
from ssi_pipeline.storage.inputs.box_source import BoxImage, read_planes
from ssi_pipeline.storage.inputs.microscope.opening import choose_scene, micrometres, refuse_axes
from ssi_pipeline.storage.outputs.image_metadata import ImageMetadata


def open_image(path: Path, scene: int | None) -> BoxImage:
    """Open one image of the file.

    Raises
    ------
    InputError
        The file ends inside the image, or dimensions are not supported.
    """
    file = LifFile(path)
    try:
        return _open(file, path, scene)
    except Exception:
        file.close()
        raise


def list_scenes(path: Path) -> list[str]:
    """Return the names and sizes of the images."""
    with LifFile(path) as file:
        return _names(file)


def _names(file: LifFile) -> list[str]:
    return [f"{i.path} ({' '.join(f'{k.lower()} {n}' for k, n in i.sizes.items())})" for i in file.images]


def _open(file: LifFile, path: Path, scene: int | None) -> BoxImage:
    image = list(file.images)[choose_scene(scene, _names(file), path)]
    if not isinstance(image, LifImage):
        raise InputError(f"input {path}: {image.path} holds photon arrival times (FLIM); expected intensities")
    sizes = dict(image.sizes)
    refuse_axes(sizes, "TCZYX", path, "LIF")
    frames = image.frames
    if tuple(frames.frame_dims) != ("Y", "X"):
        raise InputError(
            f"input {path} stores planes of {', '.join(frames.frame_dims)}; expected y, x: save the image as OME-TIFF"
        )
    kinds = {str(channel.dtype) for channel in image._channels}
    if len(kinds) > 1:
        raise InputError(f"input {path} has channels of {', '.join(sorted(kinds))}; expected one type of pixels")
    _refuse_truncated(file, image, path)
    axes = "".join(name for name in sizes if name not in "YX") + "YX"

    def plane(index: tuple[int, ...]) -> NDArray[Any]:
        at: dict[str, Any] = dict(zip(axes, index, strict=False))
        return image.frame(**at)

    return BoxImage(
        "Leica LIF",
        axes.lower(),
        tuple(sizes[name] for name in axes),
        np.dtype(image.dtype),
        lambda box: read_planes(box, plane),
        file.close,
        _metadata(image),
        _optics(image),
    )


def _refuse_truncated(file: LifFile, image: Any, path: Path) -> None:
    """Refuse an image whose block the file does not hold: the library notices it when the pixels are read."""
    wanted = image.xml_element.find("./Memory")
    name = None if wanted is None else wanted.get("MemoryBlockID")
    block = file.memory_blocks.get(name or "")
    if block is None or block.offset + block.size > path.stat().st_size:
        raise InputError(
            f"input {path} ends before the pixels of this image (block {name}): the acquisition or a copy did not "
            "finish. Copy it again"
        )


def _metadata(image: Any) -> ImageMetadata:
    scale, units = {}, {}
    for axis, places in image.coords.items():
        if axis in "ZYX" and len(places) > 1 and (step := abs(float(places[1] - places[0]))) > 0:
            scale[axis.lower()], units[axis.lower()] = micrometres(step), "micrometer"
        elif axis == "T" and len(places) > 1 and places[1] > places[0]:
            scale["t"], units["t"] = float(places[1] - places[0]), "second"
    return ImageMetadata(units, scale)


def _optics(image: Any) -> dict[str, float]:
    for element in image.xml_element.iter("ATLConfocalSettingDefinition"):
        found = {"na": element.get("NumericalAperture"), "immersion": element.get("RefractionIndex")}
        return {name: float(value) for name, value in found.items() if value and float(value) > 0}
    return {}
