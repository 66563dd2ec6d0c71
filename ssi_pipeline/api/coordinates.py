"""The voxel size that the coordinates of an ``xarray.DataArray`` state."""

from __future__ import annotations

from typing import Any

import numpy as np

from ssi_pipeline.physics.lengths import MICROMETRES

_EVEN = 1e-3
"""Relative deviation up to which steps count as equal."""


def voxel_size_of(image: Any, axes: str) -> dict[str, float] | None:
    """Return the voxel size in micrometres by axis; None where an axis of space has no coordinates with a unit.

    A coordinate counts if it is evenly spaced, rising or falling, and its attribute ``units`` names a length.
    """
    found = {}
    for axis, name in zip(axes, image.dims, strict=True):
        if axis not in "zyx":
            continue
        coordinate = image.coords.get(name)
        unit = None if coordinate is None else MICROMETRES.get(str(coordinate.attrs.get("units", "")))
        if coordinate is None or unit is None or coordinate.size < 2 or coordinate.dtype.kind not in "iuf":
            return None
        steps = np.abs(np.diff(coordinate.values.astype(np.float64)))
        if not 0 < steps.min() >= steps.max() * (1 - _EVEN):
            return None
        found[axis] = float(steps.mean() * unit)
    return found
