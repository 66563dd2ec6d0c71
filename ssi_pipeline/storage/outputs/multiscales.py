"""The OME-Zarr metadata of an output (NGFF 0.4 and 0.5, section "multiscales")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssi_pipeline.geometry import Volume
from ssi_pipeline.geometry.boxes import Ints

_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


def multiscales(
    version: str,
    name: str,
    volume: Volume,
    metadata: Mapping[str, Any],
    factors: tuple[Ints, ...],
    origin: Mapping[str, int],
) -> dict[str, Any]:
    """Return the multiscales document.

    Parameters
    ----------
    version
        ``'0.4'`` or ``'0.5'``.
    metadata
        ``axes_units``, ``scale``, ``translation`` of the input, by axis.
    factors
        Downsampling of each level along z y x.
    origin
        First position of the region of interest in the input, by axis.
    """
    axes = []
    for axis in volume.axes:
        entry = {"name": axis, "type": _TYPES[axis]}
        unit = metadata.get("axes_units", {}).get(axis)
        axes.append(entry | ({"unit": unit} if unit else {}))
    datasets = [
        {"path": str(level), "coordinateTransformations": _transformations(volume.axes, metadata, factor, origin)}
        for level, factor in enumerate(factors)
    ]
    document: dict[str, Any] = {"name": name, "axes": axes, "datasets": datasets, "type": "mean"}
    return document | ({"version": version} if version == "0.4" else {})


def _transformations(
    axes: str, metadata: Mapping[str, Any], factor: Ints, origin: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Scale, then translation: the centre of a level's first voxel is the centre of the voxels that it averages."""
    by_axis = dict(zip("zyx", factor, strict=True))
    scale, translation = [], []
    for axis in axes:
        size = float(metadata.get("scale", {}).get(axis, 1.0))
        step = by_axis.get(axis, 1)
        shift = float(metadata.get("translation", {}).get(axis, 0.0))
        scale.append(size * step)
        translation.append(shift + size * (origin.get(axis, 0) + (step - 1) / 2))
    return [{"type": "scale", "scale": scale}, {"type": "translation", "translation": translation}]
