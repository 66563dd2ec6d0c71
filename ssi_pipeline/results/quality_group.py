"""Write the arrays of ``quality/`` with their attributes: units, codes, and the position of each tile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.geometry.volume import AXES
from ssi_pipeline.quality.alarms import ALARMS
from ssi_pipeline.storage.outputs.quality_arrays import TILE_DIMENSIONS, QualityArray, write_quality
from ssi_pipeline.tasks import Context

_UNITS = {"seconds": "s", "peak_bytes": "byte"}
"""Units of metrics; all others are ratios, counts, codes or normalised intensities, with unit 1."""

_LENGTHS = ("frc_before", "frc_after", "decorrelation_before", "decorrelation_after")

_GROUP = {
    "Conventions": "CF-1.11",
    "title": "quality of each tile",
    "comment": "One value for each tile of the image in array 0 of the parent group; NaN where a tile has none.",
}


def write_quality_group(
    context: Context,
    metrics: Mapping[str, NDArray[np.float32]],
    notes: Mapping[str, str],
    codes: Mapping[str, Mapping[str, int]],
) -> None:
    """Write all metrics (t c z y x) to the output; ``notes``: description of each, ``codes``: names of its values."""
    arrays = [
        QualityArray(name, values, TILE_DIMENSIONS, metric_attributes(context, name, notes[name], codes.get(name, {})))
        for name, values in metrics.items()
    ]
    write_quality(context.document.config.output.path, arrays, tile_coordinates(context), _GROUP)


def metric_attributes(context: Context, name: str, note: str, codes: Mapping[str, int]) -> dict[str, Any]:
    """Return description, unit and meanings of values of a metric, by the CF conventions."""
    known = context.document.volume.voxel_size_um is not None
    about = {"long_name": note, "units": _unit(name, known), **_values(codes)}
    return about | (_bits() if name == "flag" else {})


def _unit(name: str, voxel_size_known: bool) -> str:
    if name in _LENGTHS:
        return "micrometer" if voxel_size_known else "pixel"
    return _UNITS.get(name, "1")


def _bits() -> dict[str, Any]:
    return {
        "flag_masks": [2**i for i in range(len(ALARMS))],
        "flag_meanings": " ".join(alarm.name for alarm in ALARMS),
    }


def _values(codes: Mapping[str, int]) -> dict[str, Any]:
    """Return the meanings of codes by the CF conventions; nothing for other metrics."""
    ordered = sorted((code, word) for word, code in codes.items())
    if not ordered:
        return {}
    return {"flag_values": [code for code, _ in ordered], "flag_meanings": " ".join(word for _, word in ordered)}


def tile_coordinates(context: Context) -> list[QualityArray]:
    """Return the first voxel of each tile's core, and its position if the voxel size is known."""
    plan, metadata = context.plan, context.document.image_metadata
    steps = dict(zip(AXES, (1, 1, *plan.core), strict=True))
    origin = dict(zip(AXES, context.origin, strict=True))
    found = []
    for axis, dimension, n in zip(AXES, TILE_DIMENSIONS, plan.tile_grid, strict=True):
        first = np.arange(n, dtype=np.int64) * steps[axis]
        found.append(QualityArray(dimension, first, (dimension,), {"long_name": _first(axis), **_names(context, axis)}))
        unit, scale = metadata.get("axes_units", {}).get(axis), metadata.get("scale", {}).get(axis)
        if unit is not None and scale is not None:
            shift = metadata.get("translation", {}).get(axis, 0.0)
            where = np.asarray(shift + scale * (origin[axis] + first), np.float64)
            about = {"long_name": f"position along {axis} of the first voxel of the tile's core", "units": unit}
            found.append(QualityArray(f"position_{axis}", where, (dimension,), about))
    return found


def _first(axis: str) -> str:
    inner = {"t": "time point of the tile", "c": "channel of the tile"}
    return inner.get(axis, f"first voxel of the tile's core along {axis}") + ", counted in array 0 of the image"


def _names(context: Context, axis: str) -> dict[str, Any]:
    """Return the names of the channels, in the order of the tiles."""
    names = context.document.volume.channel_names
    first, n = context.origin[1], context.plan.shape[1]
    return {"channel_names": list(names[first : first + n])} if axis == "c" and names else {}
