"""A plane of an image as a small PNG in HTML, for notebooks."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.geometry.volume import AXES

MOST_PIXELS = 256
"""Longer side of a picture: 20 to 60 kB in a notebook."""

_LOW, _HIGH = 0.5, 99.8
"""Percentiles that are black and white."""

_MIDDLE_GREY = 128

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """A plane y x of an image; ``place``: which one, in words, empty where there is no other."""

    pixels: NDArray[Any]
    place: str = ""


def middle_plane(values: Any, axes: str = "") -> Plane | None:
    """Return the middle plane along z of the first time point and channel; None of lazy values, of which none is read.

    Parameters
    ----------
    values
        numpy, torch or xarray.
    axes
        A letter for each dimension; by default the last ones of ``tczyx``.
    """
    values = getattr(values, "variable", values)  # of an xarray: its names and coordinates are not needed
    values = getattr(values, "data", values) if hasattr(values, "dims") else values
    if hasattr(values, "__dask_graph__"):
        return None
    names = axes or "".join(AXES[-values.ndim :])
    index: list[Any] = [slice(None)] * values.ndim
    places = []
    for dimension, axis in enumerate(names):
        if axis not in "yx":
            n = values.shape[dimension]
            index[dimension] = n // 2 if axis == "z" else 0
            places += [f"{axis} = {index[dimension]} (0 to {n - 1})"] if n > 1 else []
    plane = values[tuple(index)]
    pixels = np.asarray(plane.detach().cpu() if hasattr(plane, "detach") else plane)
    return Plane(pixels if names.index("y") < names.index("x") else pixels.T, ", ".join(places))


def picture_html(plane: Plane, what: str) -> str:
    """Return a plane as a picture with its grey range below; ``what``: its name in words."""
    values = shrunk(plane.pixels, MOST_PIXELS)
    low, high = grey_range(values)
    height, width = values.shape
    times = max(1, MOST_PIXELS // max(values.shape))
    data = base64.b64encode(encode_png(as_grey(values, low, high))).decode()
    about = escape(", ".join(filter(None, (what, plane.place, f"grey from {low:.4g} to {high:.4g}"))), quote=True)
    return (
        f'<figure style="margin:0"><img alt="{about}" width="{width * times}" height="{height * times}" '
        f'style="image-rendering:pixelated" src="data:image/png;base64,{data}">'
        f"<figcaption>{about}</figcaption></figure>"
    )


def shrunk(plane: NDArray[Any], most: int) -> Values:
    """Return means over squares of pixels, so that no side is longer than ``most``; NaN where no pixel is finite."""
    step = -(-max(plane.shape) // most)
    values = np.where(np.isfinite(plane), plane, np.nan).astype(np.float64)
    if step == 1:
        return values
    padded = np.pad(values, [(0, -n % step) for n in values.shape], constant_values=np.nan)
    squares = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)
    known = np.isfinite(squares)
    counts = known.sum((1, 3))
    means: Values = np.where(known, squares, 0.0).sum((1, 3)) / np.maximum(counts, 1)
    return np.where(counts > 0, means, np.nan)


def grey_range(values: Values) -> tuple[float, float]:
    """Return the values that are black and white; those of all pixels where most are equal, NaN where none is known."""
    known = values[np.isfinite(values)]
    if not known.size:
        return np.nan, np.nan
    low, high = np.percentile(known, (_LOW, _HIGH))
    return (float(low), float(high)) if high > low else (float(known.min()), float(known.max()))


def as_grey(values: Values, low: float, high: float) -> NDArray[np.uint8]:
    """Return values as grey levels: black where they are not finite, a middle grey where all are equal."""
    known = np.isfinite(values)
    if not high > low:
        return np.where(known, _MIDDLE_GREY, 0).astype(np.uint8)
    levels = np.clip((np.where(known, values, low) - low) / (high - low), 0, 1) * 255
    return np.rint(levels).astype(np.uint8)


def encode_png(grey: NDArray[np.uint8]) -> bytes:
    """Return a PNG of 8 bit grey levels (y x), as specified by ISO/IEC 15948."""
    height, width = grey.shape
    lines = np.zeros((height, width + 1), np.uint8)  # each begins with its filter: 0, none
    lines[:, 1:] = grey
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in parts)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
