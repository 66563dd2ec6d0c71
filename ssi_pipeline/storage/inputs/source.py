"""Opening of the input image, whatever its format."""

from __future__ import annotations

import functools
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ssi_pipeline.config import InputConfig
from ssi_pipeline.config.patterns import has_placeholders, place_of
from ssi_pipeline.errors import InputError
from ssi_pipeline.storage.inputs.source_protocol import Source, SourceSpec
from ssi_pipeline.tiff.foreign import likely_kind, read_head

if TYPE_CHECKING:
    from ssi_pipeline.storage.inputs.box_source import BoxImage

_TIFF = (".tif", ".tiff", ".btf", ".tf8", ".tf2", ".lsm", ".stk")
_MICROSCOPES = (".nd2", ".czi", ".lif")
_OWN_KINDS = {".npy": "numpy", ".nd2": "ND2", ".czi": "CZI", ".lif": "LIF"}
_FILES = (*_TIFF, *_MICROSCOPES, ".npy")
_EXPECTED = "OME-Zarr, a zarr array, TIFF (.tif), .npy, or a file of a microscope (.nd2, .czi, .lif)"
_COMPANION = ".companion.ome"
_ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")
_STAMPED = ("", "zarr.json", ".zarray", ".zattrs", "0/zarr.json", "0/.zarray")
_open_lock = threading.RLock()


def spec_of(section: InputConfig) -> SourceSpec:
    """Return the source of the section ``input``."""
    given = section.voxel_size_um
    size = (given.get("z", 0.0), given.get("y", 0.0), given.get("x", 0.0)) if given else None
    return SourceSpec(str(section.path), section.level, section.axes, size, scene=section.scene)


def open_source(spec: SourceSpec) -> Source:
    """Open an image of any format that is read; open sources are cached per process.

    Raises
    ------
    InputError
        The path does not exist or is not a supported image.
    """
    path = Path(spec.path)
    if not path.exists() and not has_placeholders(path):
        raise InputError(
            f"input {path} not found; check input.path (relative paths start from the configuration's folder)"
        )
    with _open_lock:
        try:
            return _open(spec, _stamps(path))
        except PermissionError as error:
            raise InputError(f"input {path} cannot be read: {error}") from error


def clear_sources() -> None:
    """Close the cached sources and their files."""
    _open.cache_clear()


@functools.lru_cache(maxsize=16)
def _open(spec: SourceSpec, _stamps: tuple[tuple[int, int, int], ...]) -> Source:
    path = Path(spec.path)
    if not has_placeholders(path):
        return _open_path(spec)
    from ssi_pipeline.storage.inputs.plane_folder import FolderSource

    return FolderSource(spec, _open_path)


def _open_path(spec: SourceSpec) -> Source:
    # imported here: `ssi plan` needs only one of the formats
    path = Path(spec.path)
    _refuse_scene(spec, path)
    if path.name in (*_ZARR_FILES, ".zattrs", ".zmetadata") and path.is_file():
        raise InputError(f"input {path} is a zarr metadata file: give its folder, {path.parent}")
    if path.is_dir():
        if not any((path / name).is_file() for name in _ZARR_FILES):
            raise InputError(
                f"input {path} is a folder without zarr metadata ({', '.join(_ZARR_FILES)}): {_advice(path)}"
            )
        from ssi_pipeline.storage.inputs.zarr_source import ZarrSource

        return ZarrSource(path, spec.level, spec.axes, spec.voxel_size_um, spec.booleans)
    suffix = path.suffix.lower()
    if suffix in (".npy", *_MICROSCOPES):
        from ssi_pipeline.storage.inputs.box_source import BoxSource

        return BoxSource(path, _open_image(path, spec), spec.axes, spec.voxel_size_um, spec.booleans)
    if suffix not in _TIFF and not path.name.lower().endswith(_COMPANION):
        kind = likely_kind(read_head(path, f"input {path}"))
        raise InputError(
            f"input {path} is not a supported image: expected {_EXPECTED}" + (f"; it is {kind}" if kind else "")
        )
    from ssi_pipeline.storage.inputs.tiff_source import TiffSource

    return TiffSource(path, spec.level, spec.axes, spec.voxel_size_um)


def _open_image(path: Path, spec: SourceSpec) -> BoxImage:
    kind = likely_kind(read_head(path, f"input {path}"))
    if kind and _OWN_KINDS[path.suffix.lower()] not in kind:  # a pointer, a web page, an empty file ...
        raise InputError(f"input {path} is not a supported image: expected {_EXPECTED}; it is {kind}")
    if spec.level:
        raise InputError(f"input {path} has no level {spec.level}: one resolution is read; remove input.level")
    if path.suffix.lower() == ".npy":
        from ssi_pipeline.storage.inputs.npy_image import open_npy

        return open_npy(path)
    from ssi_pipeline.storage.inputs.microscope.opening import open_microscope_file

    return open_microscope_file(path, spec.scene)


def _refuse_scene(spec: SourceSpec, path: Path) -> None:
    if spec.scene is not None and path.suffix.lower() not in _MICROSCOPES:
        raise InputError(
            f"input.scene chooses an image of a file with several ({', '.join(_MICROSCOPES)}), and the input is "
            f"{path}: remove it"
        )


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
    if not found and has_placeholders(path):
        folder = place_of(path)
        found = [(os.stat(folder).st_mtime_ns, 0, 0)] if folder.is_dir() else []
    return tuple(found)


def _advice(path: Path) -> str:
    images = sorted(p.name for p in path.iterdir() if p.suffix.lower() in (*_FILES, ".zarr"))
    if len(images) > 1:
        return (
            f"give one image inside, e.g. {path / images[0]}, or, if its {len(images)} files are the planes of one "
            "image, a pattern of their names such as " + str(path / "scan_T{t}_Z{z}.tif")
        )
    if images:
        return f"give one image inside, e.g. {path / images[0]}"
    if (path / "attributes.json").is_file():
        return "it looks like N5, which is not supported; convert it to OME-Zarr"
    return f"expected {_EXPECTED}"
