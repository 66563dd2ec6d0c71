"""Source of the input image: reads boxes, independent of the file format."""

from __future__ import annotations

import functools
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from ssi_pipeline.config import InputConfig
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry import Box, Volume
from ssi_pipeline.storage.outputs.image_metadata import ImageMetadata
from ssi_pipeline.storage.small_files import read_json
from ssi_pipeline.tiff.foreign import likely_kind, read_head

_TIFF = (".tif", ".tiff", ".btf", ".tf8", ".tf2", ".lsm", ".stk")
_COMPANION = ".companion.ome"
STACK = ".images.json"
"""Ending of a list of images that are read as the time points of one."""

_ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")
_STAMPED = ("", "zarr.json", ".zarray", ".zattrs", "0/zarr.json", "0/.zarray")
_open_lock = threading.RLock()


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Location of the input and the user's metadata; sent to workers.

    ``voxel_size_um``: z y x in micrometres; 0: from the file's metadata. ``booleans``: pixels may be booleans.
    """

    path: str
    level: int = 0
    axes: str | None = None
    voxel_size_um: tuple[float, float, float] | None = None
    booleans: bool = False


class Source(Protocol):
    """An image that is read box by box. Thread-safe."""

    @property
    def volume(self) -> Volume:
        """Axes, shape (t c z y x), dtype, voxel size and channel names."""

    @property
    def metadata(self) -> ImageMetadata:
        """Units, scale and display settings to copy to the output."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings about a readable input: skipped or missing data.

        Shown by `ssi plan`, `ssi run` and the report. Computed on demand, by the client only.

        Raises
        ------
        InputError
            Data stated in the metadata are missing.
        """

    def read(self, t: int, c: int, box: Box) -> NDArray[Any]:
        """Return the pixels of a box (z y x positions in the image), axes z y x, native dtype.

        Raises
        ------
        ValueError
            The box is not inside the image.
        CorruptDataError
            The pixels cannot be read; names the chunk or page.
        """

    def stamp(self) -> dict[str, Any]:
        """Return digests of the metadata, as a JSON document."""

    def files(self) -> list[Path]:
        """Return the files of pixels, and folders that contain only such files."""


def spec_of(section: InputConfig) -> SourceSpec:
    """Return the source of the section ``input``."""
    given = section.voxel_size_um
    size = (given.get("z", 0.0), given.get("y", 0.0), given.get("x", 0.0)) if given else None
    return SourceSpec(str(section.path), section.level, section.axes, size)


def open_source(spec: SourceSpec) -> Source:
    """Open an OME-Zarr image, a zarr array or a TIFF; open sources are cached per process.

    Raises
    ------
    InputError
        The path does not exist or is not a supported image.
    """
    path = Path(spec.path)
    if not path.exists():
        raise InputError(
            f"input {path} not found; check input.path (relative paths start from the configuration's folder)"
        )
    with _open_lock:
        try:
            return _open(spec, _stamps(path))
        except PermissionError as error:
            raise InputError(f"input {path} cannot be read: {error}") from error


def is_image_file(path: Path) -> bool:
    """Return whether a file's name is that of a TIFF, or of the companion file of a set."""
    return path.is_file() and (path.suffix.lower() in _TIFF or path.name.lower().endswith(_COMPANION))


def clear_sources() -> None:
    """Close the cached sources and their files."""
    _open.cache_clear()


@functools.lru_cache(maxsize=16)
def _open(spec: SourceSpec, _stamps: tuple[tuple[int, int, int], ...]) -> Source:
    # imported here: `ssi plan` needs only one of the formats
    path = Path(spec.path)
    if path.name in (*_ZARR_FILES, ".zattrs", ".zmetadata") and path.is_file():
        raise InputError(f"input {path} is a zarr metadata file: give its folder, {path.parent}")
    if path.is_dir():
        if not any((path / name).is_file() for name in _ZARR_FILES):
            raise InputError(
                f"input {path} is a folder without zarr metadata ({', '.join(_ZARR_FILES)}): {_advice(path)}"
            )
        from ssi_pipeline.storage.inputs.zarr_source import ZarrSource

        return ZarrSource(path, spec.level, spec.axes, spec.voxel_size_um, spec.booleans)
    if path.name.endswith(STACK):
        from ssi_pipeline.storage.inputs.stack import StackedSource

        return StackedSource(read_json(path), lambda member: open_source(replace(spec, path=member)))
    if not is_image_file(path):
        kind = likely_kind(read_head(path, f"input {path}"))
        raise InputError(
            f"input {path} is not a supported image: expected OME-Zarr, a zarr array or TIFF ({_TIFF[0]})"
            + (f"; it is {kind}" if kind else "")
        )
    from ssi_pipeline.storage.inputs.tiff_source import TiffSource

    return TiffSource(path, spec.level, spec.axes, spec.voxel_size_um)


def _stamps(path: Path) -> tuple[tuple[int, int, int], ...]:
    """Return file stamps as a cache key: a replaced file is opened again."""
    found = []
    for name in _STAMPED:
        try:
            stat = os.stat(path / name if name else path)
        except OSError:
            continue
        if name or not path.is_dir():
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_dev))
    return tuple(found)


def _advice(path: Path) -> str:
    images = sorted(p.name for p in path.iterdir() if p.suffix.lower() in (*_TIFF, ".zarr"))[:3]
    if images:
        return f"give one image inside, e.g. {path / images[0]}"
    if (path / "attributes.json").is_file():
        return "it looks like N5, which is not supported; convert it to OME-Zarr"
    return "expected OME-Zarr, a zarr array or a TIFF file"
