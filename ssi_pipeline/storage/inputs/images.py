"""Find the images in a plate, a bioformats2raw collection, a zarr group, a folder or a file; choose some by name."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ssi_pipeline.errors import InputError
from ssi_pipeline.storage.inputs.scenes import list_scenes
from ssi_pipeline.storage.inputs.source import is_image_file, may_have_scenes
from ssi_pipeline.storage.inputs.zarr_node import NODE_FILES, ZarrNode, read_node
from ssi_pipeline.storage.outputs.ome import image_document

Kind = Literal["plate", "series", "folder"]

_SHOWN = 3
_SUFFIXES = (".ome.tif", ".ome.tiff", ".ome.zarr", ".companion.ome")
"""Endings of two parts; of others the last part is removed to name an image."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image: its name, which is its path in the output as well, and where it is.

    ``well``: name of its well, for instance ``A/1``; empty outside of plates. ``acquisition``: of a field of a well.
    ``scene``: its number in a file with several; None: the file is the image. ``title``: what the file calls it.
    """

    name: str
    path: Path
    well: str = ""
    acquisition: int | None = None
    scene: int | None = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The images of a path in their order. ``plate``: its metadata; empty without a plate."""

    kind: Kind
    path: Path
    images: tuple[Image, ...]
    plate: Mapping[str, Any]

    def chosen(self, pattern: str) -> tuple[Image, ...]:
        """Return the images whose name matches, part by part: ``A/*/0``.

        Raises
        ------
        InputError
            There are none.
        """
        # the files of a folder were listed by the pattern
        found = self.images if self.kind == "folder" else tuple(i for i in self.images if matches(i.name, pattern))
        if not found:
            raise InputError(
                f"input.images {pattern!r} matches none of the {len(self.images)} images of {self.path} "
                f"({self.kind}): expected for instance {_some(image.name for image in self.images)}; "
                f"`ssi images {self.path}` lists them"
            )
        return found


def list_images(path: Path, pattern: str = "*") -> Catalogue:
    """Return the images of a plate, a collection, a folder or a file; ``pattern``: of the files of a folder.

    The images of a file are named by their numbers, as those of a bioformats2raw collection.

    Raises
    ------
    InputError
        There are none, or two would have the same name.
    """
    if path.is_file() and may_have_scenes(path):
        scenes = enumerate(list_scenes(path))
        return Catalogue("series", path, tuple(Image(str(i), path, scene=i, title=name) for i, name in scenes), {})
    if not path.is_dir():
        found = "is one file" if path.exists() else "was not found"
        raise InputError(
            f"input {path} {found}: expected a plate, a bioformats2raw collection, a zarr group or a folder of images, "
            "or a file with several (TIFF, .nd2, .czi, .lif)"
        )
    node = read_node(path, f"input {path}")
    catalogue = _in_folder(path, pattern) if node is None else _in_zarr(node, path)
    if not catalogue.images:
        there = _some(sorted(entry.name for entry in path.iterdir())) or "nothing"
        raise InputError(f"input {path} ({catalogue.kind}) has no image {pattern!r}; it contains {there}")
    _refuse_equal_names(catalogue)
    return catalogue


def _in_zarr(node: ZarrNode, folder: Path) -> Catalogue:
    document = image_document(node.attributes)
    plate = document.get("plate")
    if isinstance(plate, Mapping):
        return Catalogue("plate", folder, tuple(_of_plate(folder, plate)), plate)
    if node.kind == "array" or "multiscales" in document:
        raise InputError(f"input {folder} is one image: expected no input.images, or a folder of several")
    names = _series(folder) or _members(folder)
    return Catalogue("series", folder, tuple(Image(name, folder / name) for name in names), {})


def _of_plate(folder: Path, plate: Mapping[str, Any]) -> Iterator[Image]:
    for well in _paths(plate.get("wells")):
        name = str(well["path"])
        if len(PurePosixPath(name).parts) != 2:
            raise InputError(f"plate {folder} has the well {name!r}: expected its row and column, for instance A/1")
        node = read_node(folder / name, f"well {folder / name}")
        inside = image_document(node.attributes).get("well") if node is not None else None
        for image in _paths(inside.get("images") if isinstance(inside, Mapping) else None):
            acquisition = image.get("acquisition")
            path = f"{name}/{image['path']}"
            yield Image(path, folder / path, name, acquisition if isinstance(acquisition, int) else None)


def _paths(entries: Any) -> list[Mapping[str, Any]]:
    """Return the entries of a list that have a path, none of which leaves its folder."""
    found = [e for e in entries if isinstance(e, Mapping) and e.get("path")] if isinstance(entries, list) else []
    return [entry for entry in found if not {"..", "/"} & set(PurePosixPath(str(entry["path"])).parts)]


def _series(folder: Path) -> list[str]:
    node = read_node(folder / "OME", f"input {folder}")
    names = image_document(node.attributes).get("series") if node is not None else None
    return (
        [str(entry["path"]) for entry in _paths([{"path": name} for name in names])] if isinstance(names, list) else []
    )


def _members(folder: Path) -> list[str]:
    """Return the images directly in a zarr group, in natural order."""
    names = [entry.name for entry in folder.iterdir() if entry.name != "OME" and _is_zarr_image(entry)]
    return sorted(names, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))


def _in_folder(path: Path, pattern: str) -> Catalogue:
    if PurePosixPath(pattern).is_absolute() or ".." in PurePosixPath(pattern).parts:
        raise InputError(f"input.images {pattern!r} leaves input.path: expected a pattern inside of {path}")
    entries = (entry for entry in path.glob(pattern) if not _is_hidden(entry.relative_to(path)))
    files = sorted(entry for entry in entries if is_image_file(entry) or _is_zarr_image(entry))
    return Catalogue("folder", path, tuple(Image(_stem(file, path), file) for file in files), {})


def _is_hidden(path: Path) -> bool:
    """Return whether a part of a path begins with a dot, as copies of macOS's attributes do."""
    return any(part.startswith(".") for part in path.parts)


def _is_zarr_image(folder: Path) -> bool:
    """Return whether a folder is a zarr node that may be one image: an array, or a group with multiscales."""
    if not any((folder / name).is_file() for name in NODE_FILES):
        return False
    node = read_node(folder, f"input {folder}")
    return node is not None and (node.kind == "array" or "multiscales" in image_document(node.attributes))


def _stem(file: Path, folder: Path) -> str:
    """Return the name of an image: the path of its file without its ending."""
    name = file.relative_to(folder).as_posix()
    ending = next((s for s in _SUFFIXES if name.lower().endswith(s)), PurePosixPath(name).suffix)
    return name[: len(name) - len(ending)] if ending else name


def matches(name: str, pattern: str) -> bool:
    """Return whether the name of an image matches a pattern, part by part."""
    parts, wanted = PurePosixPath(name).parts, PurePosixPath(pattern).parts
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _refuse_equal_names(catalogue: Catalogue) -> None:
    """Refuse images that would be written to one folder, or one into another; letters in either case are equal.

    Raises
    ------
    InputError
        Two names are equal, one is inside another, or one is reserved.
    """
    seen: dict[str, Image] = {}
    for image in catalogue.images:
        other = seen.setdefault(image.name.casefold(), image)
        if other is not image:
            raise InputError(
                f"{other.path} and {image.path} would both be the image {image.name!r} of the output: rename one, or "
                "choose one of them by input.images"
            )
        if image.name.casefold().split("/")[0] == "ome":
            raise InputError(
                f"{image.path} would be the image {image.name!r} of the output, a reserved name: rename it"
            )
    for image in catalogue.images:
        for parent in PurePosixPath(image.name.casefold()).parents:
            if str(parent) in seen:
                raise InputError(
                    f"the image {image.name!r} would be inside the image {seen[str(parent)].name!r} of the output: "
                    "rename one, or choose one of them by input.images"
                )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")
