"""Label images of an OME-Zarr image, at the resolution at which the image is read, and its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry import Volume
from ssi_pipeline.storage.inputs.zarr_image import list_levels
from ssi_pipeline.storage.inputs.zarr_node import ZarrNode, read_node
from ssi_pipeline.storage.inputs.zarr_source import ZarrSource
from ssi_pipeline.storage.outputs.ome import image_document

Carried = Literal["labels", "tables"]
KINDS: tuple[Carried, ...] = ("labels", "tables")

_KEPT = ("colors", "properties", "source")
"""Parts of ``image-label`` that both versions of OME-Zarr have."""


@dataclass(frozen=True, slots=True)
class Label:
    """One label image at the resolution of the image; ``document``: its ``image-label``."""

    name: str
    source: ZarrSource
    document: Mapping[str, Any]


def find_group(image: Place, kind: Carried) -> ZarrNode | None:
    """Return the group ``labels`` or ``tables`` of an image; None without one.

    Raises
    ------
    InputError
        The input is no OME-Zarr image, or the group is damaged.
    """
    where = f"input {image}"
    node = read_node(image, where)
    if node is None or node.kind != "group" or "multiscales" not in image_document(node.attributes):
        raise InputError(f"output.carry: {where} is no OME-Zarr image, which alone has {kind}: remove output.carry")
    return read_node(image / kind, f"{where}, {kind}")


def names_in(group: ZarrNode, kind: Carried) -> list[str]:
    """Return the names that the group lists.

    Raises
    ------
    InputError
        They are no names of groups inside it.
    """
    names = image_document(group.attributes).get(kind, group.attributes.get(kind, []))
    if not isinstance(names, list) or not all(_is_name(name) for name in names):
        raise InputError(f"output.carry: {group.folder} lists {str(names)[:200]}: expected names of {kind} inside it")
    return [str(name) for name in names]


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and len(PurePosixPath(name).parts) == 1 and name not in ("..", "/")


def open_labels(group: ZarrNode, volume: Volume, growing: bool = False) -> Iterator[Label]:
    """Open the label images of an image, as the image is read; ``growing``: with any number of time points.

    Raises
    ------
    InputError
        One is damaged, or has no level of the shape of the image.
    """
    for name in names_in(group, "labels"):
        folder = group.folder / name
        node = read_node(folder, f"label image {folder}")
        if node is None or node.kind != "group":
            raise InputError(f"output.carry: {group.folder} lists the label image {name!r}, which is not there")
        document = image_document(node.attributes)
        about = document.get("image-label")
        yield _open(name, folder, list_levels(node, document), _Fit(volume, growing), _mapping(about))


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


@dataclass(frozen=True, slots=True)
class _Fit:
    """Shape that labels need: that of the image, but for t and c that they may lack, and for t of growing ones."""

    image: Volume
    growing: bool

    def __call__(self, label: Volume) -> bool:
        """Return whether a level has it."""
        shapes = zip("tczyx", label.shape, self.image.shape, strict=True)
        return all(n == m or (n == 1 and axis in "tc") or (axis == "t" and self.growing) for axis, n, m in shapes)


def _open(name: str, folder: Place, shapes: Sequence[tuple[int, ...]], fits: _Fit, about: Mapping[str, Any]) -> Label:
    levels = [ZarrSource(folder, i, None, None, booleans=True, labels=True) for i in range(len(shapes))]
    source = next((level for level in levels if fits(level.volume)), None)
    if source is None:
        found = ", ".join(level.volume.describe() for level in levels) or "no level"
        raise InputError(
            f"output.carry: the label image {folder} has {found}, and the image {fits.image.describe()}: expected "
            "labels of its resolution. Resample them, choose another input.level, or remove labels from output.carry"
        )
    return Label(name, source, {key: about[key] for key in _KEPT if key in about})
