"""Opening of the input image, whatever its format."""

from __future__ import annotations

import functools
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ssi_pipeline.config import InputConfig
from ssi_pipeline.config.patterns import existing_place, has_placeholders
from ssi_pipeline.config.url import Place, Url
from ssi_pipeline.errors import InputError
from ssi_pipeline.storage.inputs.microscope.opening import ENDINGS, open_microscope_file
from ssi_pipeline.storage.inputs.source_protocol import Source, SourceSpec
from ssi_pipeline.storage.small_files import read_json
from ssi_pipeline.storage.store import store_of
from ssi_pipeline.tiff.foreign import likely_kind, read_head

if TYPE_CHECKING:
    from ssi_pipeline.storage.inputs.box_source import BoxImage

_TIFF = (".tif", ".tiff", ".btf", ".tf8", ".tf2", ".lsm", ".stk")
_OWN_KINDS = {".npy": "numpy", ".nd2": "ND2", ".czi": "CZI", ".lif": "LIF"}
_FILES = (*_TIFF, *ENDINGS, ".npy")
_EXPECTED = "OME-Zarr, a zarr array, TIFF (.tif), .npy, or a file of a microscope (.nd2, .czi, .lif)"
_COMPANION = ".companion.ome"
STACK = ".images.json"
"""Ending of a list of images that are read as the time points of one."""

_ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")
_STAMPED = ("", "zarr.json", ".zarray", ".zattrs", "0/zarr.json", "0/.zarray")
_open_lock = threading.RLock()


def spec_of(section: InputConfig, frames: int | None = None) -> SourceSpec:
    """Return the source of the section ``input``; ``frames``: its first time points alone."""
    given = section.voxel_size_um
    size = (given.get("z", 0.0), given.get("y", 0.0), given.get("x", 0.0)) if given else None
    return SourceSpec(as_given(section.path), section.level, section.axes, size, scene=section.scene, frames=frames)


def as_given(place: Place) -> str | Url:
    """Return a place as a spec has it."""
    return place if isinstance(place, Url) else str(place)


def open_source(spec: SourceSpec) -> Source:
    """Open an image of any format that is read; open sources are cached per process.

    Raises
    ------
    InputError
        The path does not exist or is not a supported image.
    """
    if isinstance(spec.path, Url):
        with _open_lock:
            return _open_url(spec, _etags(spec.path))
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


def has_image_ending(path: Path) -> bool:
    """Return whether a name is that of an image in a file, or of the companion file of a set of TIFFs."""
    return path.suffix.lower() in _FILES or path.name.lower().endswith(_COMPANION)


def is_image_file(path: Path) -> bool:
    """Return whether a file exists and its name is that of an image."""
    return path.is_file() and has_image_ending(path)


def clear_sources() -> None:
    """Close the cached sources and their files."""
    _open.cache_clear()
    _open_url.cache_clear()


@functools.lru_cache(maxsize=16)
def _open(spec: SourceSpec, _stamps: tuple[tuple[int, int, int], ...]) -> Source:
    path = Path(str(spec.path))
    if not has_placeholders(path):
        source = _open_path(spec)
        if spec.frames is None:
            return source
        from ssi_pipeline.storage.inputs.first_frames import first_frames

        return first_frames(source, spec.frames, path)
    from ssi_pipeline.storage.inputs.plane_folder import FolderSource

    return FolderSource(spec, _open_path)


def _open_path(spec: SourceSpec) -> Source:
    # imported here: `ssi plan` needs only one of the formats
    path = Path(str(spec.path))
    if path.name.endswith(STACK):
        return _stacked(spec, path)
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
    if suffix in (".npy", *ENDINGS):
        from ssi_pipeline.storage.inputs.box_source import BoxSource

        return BoxSource(path, _open_image(path, spec), spec.axes, spec.voxel_size_um, spec.booleans)
    if not is_tiff(path):
        kind = likely_kind(read_head(path, f"input {path}"))
        raise InputError(
            f"input {path} is not a supported image: expected {_EXPECTED}" + (f"; it is {kind}" if kind else "")
        )
    from ssi_pipeline.storage.inputs.tiff_source import TiffSource

    return TiffSource(path, spec.level, spec.axes, spec.voxel_size_um, spec.scene)


def _open_image(path: Path, spec: SourceSpec) -> BoxImage:
    kind = likely_kind(read_head(path, f"input {path}"))
    if kind and _OWN_KINDS[path.suffix.lower()] not in kind:  # a pointer, a web page, an empty file ...
        raise InputError(f"input {path} is not a supported image: expected {_EXPECTED}; it is {kind}")
    if spec.level:
        raise InputError(f"input {path} has no level {spec.level}: one resolution is read; remove input.level")
    if path.suffix.lower() == ".npy":
        from ssi_pipeline.storage.inputs.npy_image import open_npy

        return open_npy(path)
    return open_microscope_file(path, spec.scene)


def _stacked(spec: SourceSpec, path: Path) -> Source:
    from ssi_pipeline.storage.inputs.stack import StackedSource

    members = [
        replace(spec, path=member, scene=spec.scene if scene is None else scene) for member, scene in read_json(path)
    ]
    return StackedSource(members, open_source)


def _refuse_scene(spec: SourceSpec, path: Path) -> None:
    if spec.scene is not None and not may_have_scenes(path):
        raise InputError(
            f"input.scene chooses an image of a file with several (TIFF, {', '.join(ENDINGS)}), and the input is "
            f"{path}: remove it"
        )


def is_tiff(path: Path) -> bool:
    """Return whether a name is that of a TIFF, or of the companion file of a set of them."""
    return path.suffix.lower() in _TIFF or path.name.lower().endswith(_COMPANION)


def may_have_scenes(path: Path) -> bool:
    """Return whether a name is that of a file that may hold several images."""
    return is_tiff(path) or path.suffix.lower() in ENDINGS


@functools.lru_cache(maxsize=16)
def _open_url(spec: SourceSpec, etags: tuple[str, ...]) -> Source:
    url = spec.path
    assert isinstance(url, Url)
    if url.name in (*_ZARR_FILES, ".zattrs", ".zmetadata"):
        raise InputError(f"input {url} is a zarr metadata file: give its folder")
    if url.name.lower().endswith((*_TIFF, _COMPANION)):
        raise InputError(
            f"input {url} is a TIFF file, which cannot be read in parts from a store: download it, or convert it to "
            "OME-Zarr there (bioformats2raw)"
        )
    if not etags:
        raise InputError(
            f"input {url} has no zarr metadata ({', '.join(_ZARR_FILES)}): expected the URL of an OME-Zarr image or a "
            "zarr array; check the name of the bucket and the path"
        )
    from ssi_pipeline.storage.inputs.zarr_source import ZarrSource

    return ZarrSource(url, spec.level, spec.axes, spec.voxel_size_um, spec.booleans)


def _etags(url: Url) -> tuple[str, ...]:
    """Return tags of the metadata as a cache key."""
    store = store_of(url)
    found = (store.look(name) for name in _STAMPED if name)
    return tuple(entry.tag for entry in found if entry is not None)


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
        folder = existing_place(path)
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
