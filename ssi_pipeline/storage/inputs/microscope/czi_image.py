"""Zeiss CZI: directory and metadata by the library czifile, pixels decoded here (it does not know Zstandard)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree

import numpy as np
from czifile import CziFile
from numpy.typing import NDArray

from ssi_pipeline.errors import InputError
from ssi_pipeline.physics.lengths import positive
from ssi_pipeline.storage.inputs.box_source import BoxImage, read_planes
from ssi_pipeline.storage.inputs.microscope.czi_pixels import decode, refuse_compression
from ssi_pipeline.storage.inputs.microscope.opening import choose_scene, micrometres, omero_of, refuse_axes
from ssi_pipeline.storage.outputs.image_metadata import ImageMetadata

T = TypeVar("T")

_LOOPS = "TCZ"


@dataclass(frozen=True, slots=True)
class Piece:
    """One subblock at full resolution: its first row and column in the scene, and its entry in the directory."""

    top: int
    left: int
    entry: Any

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        sizes = {dim.dimension: dim.size for dim in self.entry.dimension_entries}
        return sizes["Y"], sizes["X"]


def open_image(path: Path, scene: int | None) -> BoxImage:
    """Open one scene.

    Raises
    ------
    InputError
        Planes are missing, tiles overlap, or compression, colours or dimensions are not supported.
    """
    return _with_file(path, lambda file: _open(file, path, scene))


def list_scenes(path: Path) -> list[str]:
    """Return the numbers of the scenes, as the file has them."""

    def listed(file: CziFile) -> list[str]:
        with file:
            return _names(_scenes(file))

    return _with_file(path, listed)


def _with_file(path: Path, use: Callable[[CziFile], T]) -> T:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the library warns of is refused below
        file = CziFile(str(path))
        try:
            if file.header.update_pending or not file.header.directory_position:
                raise InputError(
                    f"input {path} was not closed by the microscope's program: the acquisition or a copy did not "
                    "finish. Copy it again"
                )
            return use(file)
        except Exception:
            file.close()
            raise


def _scenes(file: CziFile) -> dict[int, list[Any]]:
    """Return the entries of the directory at full resolution by the number of their scene, in order."""
    scenes: dict[int, list[Any]] = {}
    for entry in file.subblock_directory:
        if entry.shape == entry.stored_shape:
            scenes.setdefault(_start(entry, "S"), []).append(entry)
    return dict(sorted(scenes.items()))


def _names(scenes: dict[int, list[Any]]) -> list[str]:
    return [f"scene {number}" for number in scenes]


def _open(file: CziFile, path: Path, scene: int | None) -> BoxImage:
    scenes = _scenes(file)
    entries = list(scenes.values())[choose_scene(scene, _names(scenes), path)]
    _refuse_odd(entries, path)
    starts = {name: min(_start(entry, name) for entry in entries) for name in (*_LOOPS, "Y", "X")}
    planes: dict[tuple[int, ...], list[Piece]] = {}
    for entry in entries:
        at = tuple(_start(entry, name) - starts[name] for name in _LOOPS)
        piece = Piece(_start(entry, "Y") - starts["Y"], _start(entry, "X") - starts["X"], entry)
        planes.setdefault(at, []).append(piece)
    counts = tuple(1 + max(at[i] for at in planes) for i in range(len(_LOOPS)))
    whole = math.prod(counts)
    if len(planes) < whole:
        raise InputError(
            f"input {path} has {len(planes)} of {whole} planes (t {counts[0]}, c {counts[1]}, z {counts[2]}): "
            "the acquisition or a copy did not finish. Copy it again, or save the complete part as an image of its own"
        )
    pieces = [piece for plane in planes.values() for piece in plane]
    height = max(piece.top + piece.size[0] for piece in pieces)
    width = max(piece.left + piece.size[1] for piece in pieces)
    for plane in planes.values():
        _refuse_overlap(plane, (height, width), path)
    loops = [i for i, n in enumerate(counts) if n > 1]
    dtype = np.dtype(entries[0].dtype)

    def read(index: tuple[int, ...]) -> NDArray[Any]:
        """Return one plane, put together from its tiles."""
        at = dict(zip(loops, index, strict=False))
        out = np.empty((height, width), dtype)
        for piece in planes[tuple(at.get(i, 0) for i in range(len(_LOOPS)))]:
            rows, columns = piece.size
            out[piece.top : piece.top + rows, piece.left : piece.left + columns] = decode(piece.entry, piece.size)
        return out

    document = ElementTree.fromstring(file.metadata() or "<none/>")
    return BoxImage(
        "Zeiss CZI",
        "".join(_LOOPS[i] for i in loops).lower() + "yx",
        (*(counts[i] for i in loops), height, width),
        dtype,
        lambda box: read_planes(box, read),
        file.close,
        _metadata(document, counts[1]),
        _optics(document),
    )


def _start(entry: Any, name: str) -> int:
    return next((int(dim.start) for dim in entry.dimension_entries if dim.dimension == name), 0)


def _refuse_odd(entries: list[Any], path: Path) -> None:
    names = {dim.dimension for entry in entries for dim in entry.dimension_entries} - set("YXM")
    counts = {name: len({_start(entry, name) for entry in entries}) for name in sorted(names)}
    refuse_axes(counts, "STCZ", path, "CZI")
    kinds = {str(entry.dtype) for entry in entries}
    if len(kinds) > 1:
        raise InputError(f"input {path} has channels of {', '.join(sorted(kinds))}; expected one type of pixels")
    if np.dtype(entries[0].dtype).shape:
        raise InputError(f"input {path} is a colour image; expected one intensity per pixel: convert it to grey")
    for compression in sorted({int(entry.compression) for entry in entries}):
        refuse_compression(compression, path)


def _refuse_overlap(plane: list[Piece], shape: tuple[int, int], path: Path) -> None:
    """Refuse tiles that do not cover the plane exactly once: each pixel would have two values, or none."""
    rows, columns = (np.unique([0, shape[i], *_edges(plane, i)]) for i in (0, 1))
    covered = np.zeros((len(rows) - 1, len(columns) - 1), int)
    for piece in plane:
        height, width = piece.size
        down = slice(*np.searchsorted(rows, (piece.top, piece.top + height)))
        across = slice(*np.searchsorted(columns, (piece.left, piece.left + width)))
        covered[down, across] += 1
    if (covered != 1).any():
        found = "overlap" if (covered > 1).any() else "leave gaps"
        raise InputError(
            f"input {path} is a mosaic of {len(plane)} tiles that {found}: stitch and fuse it first (in ZEN, or for "
            "instance with multiview-stitcher), and give the result"
        )


def _edges(plane: list[Piece], axis: int) -> list[int]:
    starts = [(piece.top, piece.left)[axis] for piece in plane]
    return [*starts, *(a + piece.size[axis] for a, piece in zip(starts, plane, strict=True))]


def _metadata(document: ElementTree.Element, channels: int) -> ImageMetadata:
    scale, units = {}, {}
    for distance in document.iterfind(".//Scaling/Items/Distance"):
        axis, value = str(distance.get("Id")).lower(), positive(distance.findtext("Value"))
        if axis in tuple("zyx") and value:
            scale[axis], units[axis] = micrometres(value), "micrometer"
    step = positive(document.findtext(".//Image/Dimensions/T/Positions/Interval/Increment"))
    if step:
        scale["t"], units["t"] = step, "second"
    names = [channel.get("Name") for channel in document.iterfind(".//Image/Dimensions/Channels/Channel")]
    return ImageMetadata(units, scale, {}, omero_of(names) if len(names) == channels else {})


def _optics(document: ElementTree.Element) -> Mapping[str, float]:
    waves = {positive(element.text) for element in document.iterfind(".//Image//Channel/EmissionWavelength")}
    wave = waves.pop() if len(waves) == 1 else None
    found = {
        "na": positive(document.findtext(".//Instrument/Objectives/Objective/LensNA")),
        "wavelength_um": wave / 1000 if wave else None,
        "immersion": positive(document.findtext(".//Image/ObjectiveSettings/RefractiveIndex")),
    }
    return {name: value for name, value in found.items() if value}
