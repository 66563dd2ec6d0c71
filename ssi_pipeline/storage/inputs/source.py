"""The measurement y as something to read boxes from, whatever its file format."""

from __future__ import annotations

import functools
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from ssi_pipeline.config import InputConfig
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry import Box, Volume
from ssi_pipeline.storage.outputs.image_metadata import ImageMetadata
from ssi_pipeline.tiff.foreign import likely_kind, read_head

_TIFF = (".tif", ".tiff", ".btf", ".tf8", ".tf2", ".lsm", ".stk")
_COMPANION = ".companion.ome"
_ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")
_STAMPED = ("", "zarr.json", ".zarray", ".zattrs", "0/zarr.json", "0/.zarray")
_open_lock = threading.RLock()


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Where the measurement is and what the user says about it; travels to the workers.

    ``voxel_size_um``: z y x in micrometres; 0 where the file's own metadata hold.
    """

    path: str
    level: int = 0
    axes: str | None = None
    voxel_size_um: tuple[float, float, float] | None = None


class Source(Protocol):
    """An image that is read box by box. Safe to use from several threads."""

    @property
    def volume(self) -> Volume:
        """Axes, shape (t c z y x), dtype, voxel size and channel names."""

    @property
    def metadata(self) -> ImageMetadata:
        """Units, scale and display settings for the output to carry over."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know of the input although it can be read: what is left out, what is absent.

        Full sentences for `ssi plan`, `ssi run` and the report. Found when asked: only the client asks.

        Raises
        ------
        InputError
            What the metadata state is not there.
        """

    def read(self, t: int, c: int, box: Box) -> NDArray[Any]:
        """Return the pixels of a box (z y x positions in the image), axes z y x, native dtype.

        Raises
        ------
        ValueError
            The box is not inside the image.
        CorruptDataError
            The pixels cannot be read back; names the chunk or page.
        """

    def stamp(self) -> dict[str, Any]:
        """Return digests of the metadata, as a JSON document."""

    def files(self) -> list[Path]:
        """Return the files that hold the pixels, and the folders all of whose files do."""


def spec_of(section: InputConfig) -> SourceSpec:
    """Return what the section ``input`` says about the source."""
    given = section.voxel_size_um
    size = (given.get("z", 0.0), given.get("y", 0.0), given.get("x", 0.0)) if given else None
    return SourceSpec(str(section.path), section.level, section.axes, size)


def open_source(spec: SourceSpec) -> Source:
    """Open an OME-Zarr image, a zarr array or a TIFF; open sources are kept per process.

    Raises
    ------
    InputError
        There is nothing at the path, or no image that this package can read.
    """
    path = Path(spec.path)
    if not path.exists():
        raise InputError(
            f"input {path} not found; check input.path (relative paths start at the configuration's folder)"
        )
    with _open_lock:
        try:
            return _open(spec, _stamps(path))
        except PermissionError as error:
            raise InputError(f"input {path} cannot be read: {error}") from error


def clear_sources() -> None:
    """Forget the open sources, which closes their files."""
    _open.cache_clear()


@functools.lru_cache(maxsize=16)
def _open(spec: SourceSpec, _stamps: tuple[tuple[int, int, int], ...]) -> Source:
    # imported here: the formats import this module's neighbours, and `ssi plan` needs one of them only
    path = Path(spec.path)
    if path.name in (*_ZARR_FILES, ".zattrs", ".zmetadata") and path.is_file():
        raise InputError(f"input {path} is a metadata file of zarr: give its folder, {path.parent}")
    if path.is_dir():
        if not any((path / name).is_file() for name in _ZARR_FILES):
            raise InputError(
                f"input {path} is a folder without zarr metadata ({', '.join(_ZARR_FILES)}): {_advice(path)}"
            )
        from ssi_pipeline.storage.inputs.zarr_source import ZarrSource

        return ZarrSource(path, spec.level, spec.axes, spec.voxel_size_um)
    if path.suffix.lower() not in _TIFF and not path.name.lower().endswith(_COMPANION):
        kind = likely_kind(read_head(path, f"input {path}"))
        raise InputError(
            f"input {path} is no image that can be read: expected OME-Zarr, a zarr array or TIFF ({_TIFF[0]})"
            + (f"; it is {kind}" if kind else "")
        )
    from ssi_pipeline.storage.inputs.tiff_source import TiffSource

    return TiffSource(path, spec.level, spec.axes, spec.voxel_size_um)


def _stamps(path: Path) -> tuple[tuple[int, int, int], ...]:
    """Change when the file is replaced, so that a source kept open is not read instead of the new one."""
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
        return "it looks like N5, which is not read; convert it to OME-Zarr"
    return "expected OME-Zarr, a zarr array or a TIFF file"
