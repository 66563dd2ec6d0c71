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
    """One label image.

    ``levels``: from that of the resolution of the image on. ``factors``: their downsampling from it along t c z y x.
    ``document``: its ``image-label``.
    """

    name: str
    levels: tuple[ZarrSource, ...]
    factors: tuple[tuple[int, ...], ...]
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


def open_labels(group: ZarrNode, volume: Volume) -> Iterator[Label]:
    """Open the label images of an image, as the image is read.

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
        yield _open(name, folder, list_levels(node, document), volume, about if isinstance(about, Mapping) else {})


def _open(
    name: str, folder: Place, shapes: Sequence[tuple[int, ...]], volume: Volume, about: Mapping[str, Any]
) -> Label:
    levels = [ZarrSource(folder, i, None, None, booleans=True, labels=True) for i in range(len(shapes))]
    first = next((i for i, level in enumerate(levels) if _fits(level.volume, volume)), None)
    if first is None:
        found = ", ".join(level.volume.describe() for level in levels) or "no level"
        raise InputError(
            f"output.carry: the label image {folder} has {found}, and the image {volume.describe()}: expected labels "
            "of its resolution. Resample them, choose another input.level, or remove labels from output.carry"
        )
    full, factors = levels[first].volume.shape, []
    for level in levels[first:]:
        ratio = _ratio(levels[first], level)
        # a level may be rounded up or down; others are left out, as the full resolution has all that they have
        if any(m not in (n // r, -(-n // r)) for n, m, r in zip(full, level.volume.shape, ratio, strict=True)):
            break
        factors.append(ratio)
    return Label(
        name,
        tuple(levels[first : first + len(factors)]),
        tuple(factors),
        {key: about[key] for key in _KEPT if key in about},
    )


def _ratio(first: ZarrSource, level: ZarrSource) -> tuple[int, ...]:
    """Return the downsampling of a level along t c z y x: by its scale, or else by its shape."""
    steps = [level.metadata.scale.get(axis, 1.0) / first.metadata.scale.get(axis, 1.0) for axis in "tczyx"]
    shapes = zip(first.volume.shape, level.volume.shape, strict=True)
    return tuple(max(1, round(n / m if step == 1.0 else step)) for step, (n, m) in zip(steps, shapes, strict=True))


def _fits(label: Volume, image: Volume) -> bool:
    """Return whether a level has the shape of the image, but for t and c that it may lack."""
    shapes = zip("tczyx", label.shape, image.shape, strict=True)
    return all(n == m or (n == 1 and axis in "tc") for axis, n, m in shapes)
