"""OME-Zarr metadata of input images: read and validated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry import Volume
from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.storage.inputs.axes import AxisMap
from ssi_pipeline.storage.outputs.image_metadata import ImageMetadata
from ssi_pipeline.storage.outputs.scales import believable


def image_document(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the OME part of a group's attributes: under ``ome`` in 0.5, at the top in 0.4."""
    inner = attributes.get("ome")
    return inner if isinstance(inner, Mapping) else attributes


def axis_names(multiscale: Mapping[str, Any]) -> list[str] | None:
    """Return the axis letters of a multiscale image: by type for time and channel, else by name."""
    axes = _axes(multiscale)
    if not isinstance(axes, list):
        return None
    names = []
    for axis in axes:
        kind = axis.get("type") if isinstance(axis, Mapping) else None
        name = str(axis.get("name", "")) if isinstance(axis, Mapping) else str(axis)
        names.append({"time": "t", "channel": "c"}.get(str(kind), name.lower()))
    return names


def read_multiscale(document: Mapping[str, Any], level: int, names: Sequence[str]) -> ImageMetadata:
    """Return units, scale and translation of one level; ``names`` are the axes in the file's order.

    The transformations of the level come first, then those of the whole image (OME-Zarr 0.4, 0.5, and RFC-5).

    Raises
    ------
    InputError
        Pixels of the level lie on no regular grid along the axes: a rotation, an affine map, a field.
    """
    multiscale = document["multiscales"][0]
    scale, shift = [1.0] * len(names), [0.0] * len(names)
    stated = False
    own, whole = (_transforms(part) for part in (multiscale["datasets"][level], multiscale))
    for kind in map(_kind, own):
        if kind not in _REGULAR:
            raise InputError(
                f"level {level} of the image is placed by a transformation of type {kind!r}: expected scale and "
                "translation. Resample the image to a regular grid, or correct its metadata"
            )
    for transform in (*own, *(t for t in whole if _kind(t) in _REGULAR)):
        values = transform.get(transform["type"])
        if not isinstance(values, list) or len(values) != len(names):
            continue  # identity
        stated = True
        if transform["type"] == "scale":
            scale = [s * float(v) for s, v in zip(scale, values, strict=True)]
            shift = [s * float(v) for s, v in zip(shift, values, strict=True)]
        else:
            shift = [s + float(v) for s, v in zip(shift, values, strict=True)]
    axes = _axes(multiscale) or []
    units = {n: str(a["unit"]) for n, a in zip(names, axes, strict=False) if isinstance(a, Mapping) and a.get("unit")}
    omero = document.get("omero")
    return ImageMetadata(
        axes_units=units,
        scale=dict(zip(names, scale, strict=True)) if stated else {},
        translation={n: s for n, s in zip(names, shift, strict=True) if s},
        omero=omero if isinstance(omero, Mapping) else {},
    ).in_micrometres()


_REGULAR = ("scale", "translation", "identity")


def irregular_transforms(multiscale: Mapping[str, Any]) -> list[str]:
    """Return the types of the image's transformations that are no scale or translation: the output lacks them."""
    return [kind for kind in map(_kind, _transforms(multiscale)) if kind not in _REGULAR]


def _transforms(part: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the transformations of a level or an image, those inside a sequence one by one."""
    found: list[Mapping[str, Any]] = []
    for transform in part.get("coordinateTransformations") or ():
        inner = transform.get("transformations") if transform.get("type") == "sequence" else None
        found += _transforms({"coordinateTransformations": inner}) if inner is not None else [transform]
    return found


def _kind(transform: Mapping[str, Any]) -> str:
    """Return the type of a transformation; values in an array of their own are another type."""
    kind = str(transform.get("type"))
    return f"{kind} in an array" if kind in ("scale", "translation") and kind not in transform else kind


def _axes(multiscale: Mapping[str, Any]) -> Any:
    """Return the axes of an image: its own, or those of the coordinate system of its levels (RFC-5)."""
    systems = multiscale.get("coordinateSystems")
    if "axes" in multiscale or not isinstance(systems, list) or not systems:
        return multiscale.get("axes")
    transforms = multiscale["datasets"][0].get("coordinateTransformations") or [{}]
    named = [s for s in systems if isinstance(s, Mapping) and s.get("name") == transforms[-1].get("output")]
    return (named or systems)[0].get("axes")


def describe_image(
    axes: AxisMap,
    found: Sequence[str] | None,
    dtype: str,
    metadata: ImageMetadata,
    asked_um: tuple[float, float, float] | None,
    where: str,
) -> tuple[Volume, ImageMetadata]:
    """Return the volume and the metadata to copy; metadata of axes that the user renamed are dropped.

    Raises
    ------
    InputError
        The given voxel size lacks an axis that the file lacks too, or a scale is negative.
    """
    same = axes.axes if found is None else [a for a, f in zip(axes.names, found, strict=False) if a == f.lower()]
    given = [axis for axis, size in zip(SPATIAL, asked_um or (), strict=False) if size]
    kept = believable(metadata.only("".join(same)), given, where).with_voxel_size(asked_um).only(axes.axes)
    size = kept.voxel_size_um(axes.axes)
    if asked_um is not None and size is None:
        lacking = [axis for axis in SPATIAL if axis in axes.axes and axis not in kept.scale]
        raise InputError(f"{where}: input.voxel_size_um lacks {', '.join(lacking) or 'an axis'}; give z, y and x")
    names = kept.channel_names
    names = names if len(names) == axes.shape[1] else ()
    return Volume(axes.axes, axes.shape, dtype, size, names), kept
