"""Image metadata copied from input to output: units, scales, translations, OMERO block."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.physics.lengths import MICROMETRES


@dataclass(frozen=True, slots=True)
class ImageMetadata:
    """Metadata to copy to the output, for the chosen resolution level.

    ``axes_units``, ``scale``, ``translation``: by axis letter, only those known; lengths in
    micrometres wherever the unit is known, which is then ``micrometer``. ``omero``: the
    OME-Zarr block of that name (channel labels, colours, windows), or empty.
    """

    axes_units: Mapping[str, str] = field(default_factory=dict)
    scale: Mapping[str, float] = field(default_factory=dict)
    translation: Mapping[str, float] = field(default_factory=dict)
    omero: Mapping[str, Any] = field(default_factory=dict)

    def in_micrometres(self) -> ImageMetadata:
        """Return the same with lengths of known unit in micrometres."""
        factors: dict[str, float] = {
            a: MICROMETRES[u] for a, u in self.axes_units.items() if a in SPATIAL and u in MICROMETRES
        }
        return replace(
            self,
            axes_units={a: "micrometer" if a in factors else u for a, u in self.axes_units.items()},
            scale={a: v * factors.get(a, 1.0) for a, v in self.scale.items()},
            translation={a: v * factors.get(a, 1.0) for a, v in self.translation.items()},
        )

    def with_voxel_size(self, size_um: tuple[float, float, float] | None) -> ImageMetadata:
        """Return the same with the user's voxel size (z y x, 0 where not given) in place of the file's."""
        given: dict[str, float] = {axis: size for axis, size in zip(SPATIAL, size_um or (), strict=False) if size}
        units = {**self.axes_units, **dict.fromkeys(given, "micrometer")}
        return replace(self, axes_units=units, scale={**self.scale, **given})

    def only(self, axes: str) -> ImageMetadata:
        """Return the same for these axes alone."""
        keep = {name: {a: v for a, v in getattr(self, name).items() if a in axes} for name in _BY_AXIS}
        return replace(self, **keep)

    def voxel_size_um(self, axes: str) -> tuple[float, float, float] | None:
        """Return z y x in micrometres, or None unless all are known; 1 for a z axis that the image lacks."""
        known = {a: v for a, v in self.scale.items() if self.axes_units.get(a) == "micrometer"}
        if "z" not in axes:
            known.setdefault("z", 1.0)
        if not all(axis in known and math.isfinite(known[axis]) and known[axis] > 0 for axis in SPATIAL):
            return None
        return known["z"], known["y"], known["x"]

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Labels of the channels; empty unless every channel has one."""
        channels = self.omero.get("channels")
        labels = [c.get("label") for c in channels if isinstance(c, Mapping)] if isinstance(channels, list) else []
        return tuple(str(label) for label in labels) if all(labels) else ()


_BY_AXIS = ("axes_units", "scale", "translation")
