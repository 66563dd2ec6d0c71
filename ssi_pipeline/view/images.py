"""Layers of the images of a run: input, output and uncertainty, a layer for each channel."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import InputError, SsiError
from ssi_pipeline.geometry import Volume
from ssi_pipeline.storage.inputs.source import open_source
from ssi_pipeline.storage.inputs.source_protocol import Source, SourceSpec
from ssi_pipeline.storage.outputs.output import UNCERTAINTY
from ssi_pipeline.storage.outputs.output_store import output_store
from ssi_pipeline.storage.outputs.zarr_metadata import read_attributes
from ssi_pipeline.storage.store import open_array
from ssi_pipeline.view.frame import Frame
from ssi_pipeline.view.lazy import LazyImage, channel_of_array, channel_of_source

LayerData = tuple[Any, dict[str, Any], Literal["image", "labels"]]
"""Data, options and kind of a layer, as napari's readers return them."""

Window = tuple[float, float]

_MOST_LEVELS = 12


@dataclass(frozen=True)
class OutputImage:
    """An output by its OME-Zarr metadata."""

    path: Place

    @cached_property
    def _ome(self) -> dict[str, Any]:
        attributes = read_attributes(self.path) or {}
        found: dict[str, Any] = attributes.get("ome", attributes)
        if not found.get("multiscales"):
            raise InputError(f"{self.path} has no OME-Zarr metadata (multiscales): expected an output of `ssi run`")
        return found

    @property
    def _multiscales(self) -> dict[str, Any]:
        return dict(self._ome["multiscales"][0])

    @property
    def axes(self) -> str:
        """Its axes on disk."""
        return "".join(axis["name"] for axis in self._multiscales["axes"])

    @cached_property
    def levels(self) -> list[Any]:
        """The arrays of the pyramid, the largest first."""
        return [open_array(self.path / dataset["path"]) for dataset in self._multiscales["datasets"]]

    @property
    def frame(self) -> Frame:
        """Its place in the world."""
        found = self._multiscales["datasets"][0]["coordinateTransformations"]
        steps = {entry["type"]: entry[entry["type"]] for entry in found}
        by_axis = {name: dict(zip(self.axes, values, strict=True)) for name, values in steps.items()}
        units = {axis["name"]: axis["unit"] for axis in self._multiscales["axes"] if "unit" in axis}
        return Frame.of(self.axes, {**by_axis, "axes_units": units})

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return int(self.levels[0].shape[self.axes.index("c")]) if "c" in self.axes else 1

    @property
    def channels(self) -> list[str]:
        """Names of the channels; of a single one empty."""
        entries = self._ome.get("omero", {}).get("channels", [])
        labels = [str(entry.get("label", "")) for entry in entries]
        n = self.n_channels
        return [""] if n == 1 else [(labels[c] if c < len(labels) else "") or f"channel {c}" for c in range(n)]

    @property
    def colours(self) -> list[str]:
        """Colour of each channel."""
        entries = self._ome.get("omero", {}).get("channels", [])
        n = self.n_channels
        given = [f"#{entries[c]['color']}" if c < len(entries) and "color" in entries[c] else "gray" for c in range(n)]
        return ["gray"] if n == 1 else given

    def channel(self, c: int) -> list[LazyImage]:
        """Return all levels of a channel."""
        return [channel_of_array(array, self.axes, c) for array in self.levels]


def layer_name(what: str, channel: str) -> str:
    """Return the name of a layer, with its channel where there are several."""
    return f"{what}: {channel}" if channel else what


def output_layers(output: OutputImage, windows: Sequence[Window]) -> list[LayerData]:
    """Return a layer with all levels for each channel of the output; ``windows``: contrast by channel."""
    return [
        _image(output.channel(c), layer_name("output", name), output.frame, windows[c], colour, output.n_channels)
        for c, (name, colour) in enumerate(zip(output.channels, output.colours, strict=True))
    ]


def uncertainty_layers(output: OutputImage, windows: Sequence[Window]) -> list[LayerData]:
    """Return a hidden layer for each channel, where the output has an uncertainty."""
    if not output_store(output.path / UNCERTAINTY).exists():
        return []
    beside = OutputImage(output.path / UNCERTAINTY)
    layers = []
    for c, name in enumerate(output.channels):
        window = (0.0, (windows[c][1] - windows[c][0]) / 4 or 1.0)
        data, options, kind = _image(beside.channel(c), layer_name(UNCERTAINTY, name), output.frame, window, "magma", 1)
        layers.append((data, {**options, "visible": False}, kind))
    return layers


def input_layers(
    spec: SourceSpec, output: OutputImage, windows: Sequence[Window], first_channel: int
) -> list[LayerData]:
    """Return a layer for each channel of the output that shows its input, whole, with the levels that its file has.

    Of several channels they are hidden: colours add up.

    Raises
    ------
    InputError
        It was moved.
    """
    sources = _levels(spec)
    first, n = sources[0], output.n_channels
    metadata = {name: getattr(first.metadata, name) for name in ("scale", "translation", "axes_units")}
    frame, layers = Frame.of(first.volume.axes, metadata), []
    for c, (name, colour) in enumerate(zip(output.channels, output.colours, strict=True)):
        levels = [channel_of_source(source, c + first_channel) for source in sources]
        data, options, kind = _image(levels, layer_name("input", name), frame, windows[c], colour, n)
        layers.append((data, {**options, "visible": n == 1}, kind))
    return layers


def _levels(spec: SourceSpec) -> list[Source]:
    """Return the configured level of an input, and the coarser ones of its file."""
    found = [open_source(spec)]
    with suppress(SsiError):  # there is no such level, or one that is of no use here
        while len(found) < _MOST_LEVELS:
            coarser = open_source(replace(spec, level=spec.level + len(found)))
            if not _is_coarser(found[-1].volume, coarser.volume):
                break
            found.append(coarser)
    return found


def _is_coarser(fine: Volume, coarse: Volume) -> bool:
    alike = fine.axes == coarse.axes and fine.dtype == coarse.dtype and fine.shape[:2] == coarse.shape[:2]
    smaller = all(a >= b for a, b in zip(fine.shape, coarse.shape, strict=True)) and fine.shape != coarse.shape
    return alike and smaller


def _image(levels: list[LazyImage], name: str, frame: Frame, window: Window, colour: str, several: int) -> LayerData:
    options = {
        "name": name,
        "colormap": colour,
        "contrast_limits": list(window),
        "blending": "additive" if several > 1 else "translucent",
        "multiscale": len(levels) > 1,
        "rgb": False,
        **frame.options(),
    }
    return levels if len(levels) > 1 else levels[0], options, "image"
