"""Nikon ND2, read by the library nd2."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nd2
import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import InputError
from ssi_pipeline.storage.inputs.box_source import BoxImage, read_planes
from ssi_pipeline.storage.inputs.microscope.opening import choose_scene, omero_of, refuse_axes
from ssi_pipeline.storage.outputs.image_metadata import ImageMetadata

_FRAME = "CYXS"
"""Dimensions inside a frame of the file; the others number the frames."""


def open_image(path: Path, scene: int | None) -> BoxImage:
    """Open one stage position.

    Raises
    ------
    InputError
        Frames are missing, or dimensions are not supported.
    """
    file = nd2.ND2File(path)
    try:
        return _open(file, path, scene)
    except Exception:
        file.close()
        raise


def list_scenes(path: Path) -> list[str]:
    """Return the names of the stage positions."""
    with nd2.ND2File(path) as file:
        return _positions(file, dict(file.sizes))


def _open(file: nd2.ND2File, path: Path, scene: int | None) -> BoxImage:
    sizes = dict(file.sizes)
    position = choose_scene(scene, _positions(file, sizes), path)
    refuse_axes(sizes, "PTCZYX", path, "ND2")
    loops = [name for name in sizes if name not in _FRAME]
    axes = "".join(name for name in sizes if name in "TZ") + ("C" if "C" in sizes else "") + "YX"
    _refuse_missing(file, path, [sizes[name] for name in loops])
    inner = (sizes.get("C", 1), sizes["Y"], sizes["X"])

    def plane(index: tuple[int, ...]) -> NDArray[Any]:
        at = dict(zip(axes, index, strict=False)) | {"P": position}
        frame = int(np.ravel_multi_index([at[n] for n in loops], [sizes[n] for n in loops])) if loops else 0
        pixels: NDArray[Any] = np.asarray(file.read_frame(frame)).reshape(inner)[at.get("C", 0)]
        return pixels

    shape = tuple(sizes[name] for name in axes)
    notes: tuple[str, ...] = ()
    try:
        metadata, optics = _describe(file)
    except Exception as error:  # the library raises anything on metadata that it has not met
        metadata, optics = ImageMetadata(), {}
        notes = (
            f"the metadata of {path.name} could not be read ({type(error).__name__}: {error}); give the voxel size",
        )
    return BoxImage(
        "Nikon ND2",
        axes.lower(),
        shape,
        np.dtype(file.dtype),
        lambda box: read_planes(box, plane),
        file.close,
        metadata,
        optics,
        notes,
    )


def _positions(file: nd2.ND2File, sizes: dict[str, int]) -> list[str]:
    loop = next((x for x in file.experiment if x.type == "XYPosLoop"), None)
    points = list(loop.parameters.points) if loop is not None else []
    names = [str(getattr(point, "name", None) or f"position {i}") for i, point in enumerate(points)]
    many = sizes.get("P", 1)
    return names if len(names) == many else [f"position {i}" for i in range(many)]


def _refuse_missing(file: nd2.ND2File, path: Path, counts: list[int]) -> None:
    """Refuse a file without all its frames: the library returns zeros for them."""
    expected = int(np.prod(counts)) if counts else 1
    offsets = file._rdr._frame_offsets  # type: ignore[attr-defined]  # private: zeros tell nothing
    size = os.path.getsize(path)
    there = sum(1 for i in range(expected) if i in offsets and offsets[i] < size)
    if there < expected:
        raise InputError(
            f"input {path} has {there} of {expected} frames: the acquisition or a copy did not finish. Copy it again, "
            "or save the complete part as an image of its own"
        )


def _describe(file: nd2.ND2File) -> tuple[ImageMetadata, dict[str, float]]:
    """Return scale, units and channels, and the optics that all channels share."""
    channels = getattr(file.metadata, "channels", None) or []
    scale: dict[str, float] = {}
    if channels:
        calibration, calibrated = channels[0].volume.axesCalibration, channels[0].volume.axesCalibrated
        scale = {axis: calibration[i] for i, axis in enumerate("xy") if calibrated[i]}
    units = dict.fromkeys(scale, "micrometer")
    for loop in file.experiment:
        if loop.type == "ZStackLoop" and loop.parameters.stepUm > 0:
            scale["z"], units["z"] = float(loop.parameters.stepUm), "micrometer"
        if loop.type == "TimeLoop" and loop.parameters.periodMs > 0:
            scale["t"], units["t"] = loop.parameters.periodMs / 1000, "second"
    metadata = ImageMetadata(units, scale, {}, omero_of([channel.channel.name for channel in channels]))
    return metadata, _optics(channels)


def _optics(channels: Any) -> dict[str, float]:
    if not channels:
        return {}
    scope = channels[0].microscope
    waves = {channel.channel.emissionLambdaNm for channel in channels}
    wave = waves.pop() if len(waves) == 1 else None
    found = {
        "na": scope.objectiveNumericalAperture,
        "wavelength_um": wave / 1000 if wave else None,
        "immersion": scope.immersionRefractiveIndex,
    }
    return {name: float(value) for name, value in found.items() if value}
