"""Where an image lies in the world: the same for input, output and maps, so that they overlay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ssi_pipeline.geometry.volume import AXES


@dataclass(frozen=True, slots=True)
class Frame:
    """Scale, position of the first pixel's centre, and unit by axis.

    ``axes``: those that a layer has: t z y x as far as the image has them, not c, since each channel is a layer.
    """

    axes: str
    scale: Mapping[str, float]
    translate: Mapping[str, float]
    units: Mapping[str, str]

    @staticmethod
    def of(axes: str, metadata: Mapping[str, Any], origin: Mapping[str, int] | None = None) -> Frame:
        """Return the frame of an image from its metadata; ``origin``: its first position in the image they are of."""
        shown = axes.replace("c", "")
        scale = {axis: float(metadata.get("scale", {}).get(axis, 1.0)) for axis in shown}
        first = origin or {}
        shift = {
            axis: float(metadata.get("translation", {}).get(axis, 0.0)) + scale[axis] * first.get(axis, 0)
            for axis in shown
        }
        units = {axis: str(metadata.get("axes_units", {}).get(axis, "pixel")) for axis in shown}
        return Frame(shown, scale, shift, units)

    def cells(self, size: Mapping[str, int]) -> Frame:
        """Return the frame of a grid whose cells cover ``size`` pixels of this image each, from its first pixel on."""
        scale = {axis: step * size.get(axis, 1) for axis, step in self.scale.items()}
        shift = {axis: first + (scale[axis] - self.scale[axis]) / 2 for axis, first in self.translate.items()}
        return Frame(self.axes, scale, shift, self.units)

    def options(self) -> dict[str, Any]:
        """Return the options of a layer of napari."""
        return {
            "scale": [self.scale[axis] for axis in self.axes],
            "translate": [self.translate[axis] for axis in self.axes],
            "units": [self.units[axis] for axis in self.axes],
            "axis_labels": list(self.axes),
        }

    def select(self, grid: Any, c: int) -> Any:
        """Return one channel of an array t c z y x, with the axes of a layer."""
        return grid[tuple(c if axis == "c" else slice(None) if axis in self.axes else 0 for axis in AXES)]
