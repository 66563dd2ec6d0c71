"""Read the neighbouring planes and frames of a 2D tile: a network with ``network.context`` sees them.

Where the image ends, or a neighbour was not measured or cannot be read, the one on the other side stands for it, then
the nearest along the same axis. The tile's own plane never does: f would see the pixels that the mask hides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import CorruptDataError
from ssi_pipeline.geometry import Box
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.sensor.fill import Fill
from ssi_pipeline.tasks.context import Context
from ssi_pipeline.tasks.pixels import Pixels, read_pixels
from ssi_pipeline.tasks.reading import box_to_read

Neighbour = tuple[str, int]
"""Axis, z or t, and distance."""

Image = NDArray[np.float32]


def places_of(context: Context, t: int, domain: Box) -> Iterator[tuple[Neighbour, int, Box]]:
    """Yield the neighbours that the image has, also outside the region of interest: t and domain (z y x) of each."""
    for axis, distance in context.document.config.network.neighbours:
        if (place := _place(context, t, domain, axis, distance)) is not None:
            yield (axis, distance), *place


def tile_boxes(context: Context, t: int, domain: Box) -> list[tuple[int, Box]]:
    """Return t and box (z y x) of all that solving a tile with this domain reads of an image."""
    places = [(t, domain), *((there, box) for _, there, box in places_of(context, t, domain))]
    return [(there, box_to_read(context, box, None)) for there, box in places]


def with_neighbours(
    context: Context,
    t: int,
    c: int,
    domain: Box,
    measurement: Measurement,
    fill: Mapping[str, Any] | None = None,
) -> Measurement:
    """Read the neighbours of a measurement, and return it with them; without ``network.context`` as it is.

    Pixels of a neighbour that were not measured are interpolated from those around them.

    Parameters
    ----------
    context
        The run.
    t, c, domain
        Place of the measurement; domain z y x, in the output.
    measurement
        Of the tile itself.
    fill
        Fill of the channel, if not that of the calibration.
    """
    found: dict[Neighbour, Image] = {}
    for neighbour, there, box in places_of(context, t, domain):
        try:
            pixels = read_pixels(context, there, c, box, for_statistics=True, fill=fill)
        except CorruptDataError:  # its own tile fails, and is reported
            continue
        if not pixels.unseen.all():
            found[neighbour] = pixels.measurement(box).y
    wanted = context.document.config.network.neighbours
    return dataclasses.replace(measurement, neighbours=tuple(_nearest(found, neighbour) for neighbour in wanted))


def read_pairs(
    context: Context, c: int, samples: Sequence[tuple[int, Pixels]], fill: Fill
) -> dict[str, list[Measurement]]:
    """Return samples with the next plane (z) and frame (t), two planes y x each, by the axes of ``network.context``.

    ``samples``: t and pixels of each.
    """
    pairs: dict[str, list[Measurement]] = {}
    for axis, distance in context.document.config.network.neighbours:
        if distance != 1:
            continue
        pairs[axis] = []
        for t, pixels in samples:
            place = _pair(context, t, pixels.box, axis)
            if place is None:
                continue
            try:
                other = read_pixels(context, place[0], c, place[1], True, dataclasses.asdict(fill))
            except CorruptDataError:
                continue
            pairs[axis].append(_stacked(pixels, other))
    return pairs


def pair_places(context: Context, t: int, box: Box) -> list[tuple[int, Box]]:
    """Return t and box of the neighbours of a sample that ``read_pairs`` reads."""
    axes = dict.fromkeys(axis for axis, _ in context.document.config.network.neighbours)
    return [place for axis in axes if (place := _pair(context, t, box, axis)) is not None]


def _pair(context: Context, t: int, box: Box, axis: str) -> tuple[int, Box] | None:
    """Return t and box of the next plane or frame, or of the one before the last."""
    return _place(context, t, box, axis, 1) or _place(context, t, box, axis, -1)


def _place(context: Context, t: int, domain: Box, axis: str, distance: int) -> tuple[int, Box] | None:
    """Return t and domain of a neighbour; None outside the image."""
    if axis == "t":
        first, frames = context.origin[0], context.document.volume.shape[0]
        return (t + distance, domain) if 0 <= first + t + distance < frames else None
    box, bounds = domain.shift((distance, 0, 0)), context.plan.bounds
    return (t, box) if bounds.start[0] <= box.start[0] and box.stop[0] <= bounds.stop[0] else None


def _nearest(found: Mapping[Neighbour, Image], wanted: Neighbour) -> Image | None:
    """Return a neighbour, or what stands for it; None where there is nothing along its axis."""
    axis, distance = wanted
    same = [d for a, d in found if a == axis]
    if not same:
        return None
    best = min(same, key=lambda d: (d != distance, d != -distance, abs(d), d != abs(d)))
    return found[axis, best]


def _stacked(pixels: Pixels, other: Pixels) -> Measurement:
    y = np.concatenate([np.where(p.unseen, 0, p.raw) for p in (pixels, other)]).astype(np.float32)
    return Measurement(y, ~np.concatenate([pixels.unseen, other.unseen]))
