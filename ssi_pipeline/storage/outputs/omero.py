"""Display settings of channels: the ``omero`` block of OME-Zarr, copied where valid and completed.

The specification (0.4 and 0.5) requires ``color`` and ``window`` for every channel. Readers are stricter: labels must
be distinct text, numbers finite. Inputs often have less, or invalid values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssi_pipeline.config.url import Place
from ssi_pipeline.storage.outputs.zarr_metadata import edit_attributes, read_attributes

_WHITE = "FFFFFF"
_PAIR = ("FF00FF", "00FF00")
_MANY = ("00FFFF", "FFFF00", "FF00FF", "FF0000", "00FF00", "0000FF")
"""Colours by number of channels: one grey; two magenta and green (safe for colour blindness); more as in napari."""

_NAMED = {
    "white": _WHITE,
    "gray": _WHITE,
    "grey": _WHITE,
    "cyan": "00FFFF",
    "yellow": "FFFF00",
    "magenta": "FF00FF",
    "red": "FF0000",
    "green": "00FF00",
    "blue": "0000FF",
}

_TYPED: dict[str, type | tuple[type, ...]] = {
    "family": str,
    "wavelength_id": str,
    "active": bool,
    "inverted": bool,
    "coefficient": (int, float),
}
"""Optional entries of a channel with their type in the specification's examples; others are copied unchanged."""

Shown = tuple[float, float, float]
"""Lowest intensity, and the start and end of the display window of a channel."""


def omero_block(
    axes: str,
    found: Any,
    shape: Sequence[int],
    dtype: str,
    origin: Mapping[str, int],
    shown: Sequence[Shown | None] = (),
) -> dict[str, Any]:
    """Return the block of an output; empty if neither output nor input has channels.

    Parameters
    ----------
    axes, shape, dtype
        Of the output; the shape has five entries, t c z y x.
    found
        Block of the input with the channels of the output; not validated.
    origin
        First position of the output in the input, by axis.
    shown
        Display range per channel, if known; otherwise the range of the dtype (floats: 0 to 1).
    """
    block: dict[str, Any] = dict(found) if isinstance(found, Mapping) else {}
    given = block.get("channels")
    given = given if isinstance(given, list) else []
    if "c" not in axes and not given:
        return {}
    channels = [dict(c) if isinstance(c, Mapping) else {} for c in given[: shape[1]]]
    channels += [{} for _ in range(shape[1] - len(channels))]
    kept = {key: _plain(value) for key, value in block.items() if key in ("name", "id") and _fits(key, value)}
    rdefs = _rdefs(block.get("rdefs"), shape, origin)
    labels = _labels(channels, origin.get("c", 0))
    colors = _colors(channels)
    windows = [_window(c.get("window"), dtype, shown[i] if i < len(shown) else None) for i, c in enumerate(channels)]
    completed = [
        {**_optional(channel), "label": label, "color": color, "window": window}
        for channel, label, color, window in zip(channels, labels, colors, windows, strict=True)
    ]
    return {**kept, "channels": completed} | ({"rdefs": rdefs} if rdefs else {})


def set_omero(path: Place, block: Mapping[str, Any]) -> None:
    """Replace the block of an output that has one. Only the client calls this."""
    found = read_attributes(path) or {}
    inner = found.get("ome")
    if (inner if isinstance(inner, dict) else found).get("omero") == block or not block:
        return
    if isinstance(inner, dict):
        edit_attributes(path, lambda known: {**known, "ome": {**inner, "omero": dict(block)}})
    else:
        edit_attributes(path, lambda known: {**known, "omero": dict(block)})


def _fits(key: str, value: Any) -> bool:
    return isinstance(value, {"name": str, "id": int}[key]) and not isinstance(value, bool)


def _labels(channels: Sequence[Mapping[str, Any]], first: int) -> list[str]:
    """Return the channel labels; duplicates get a number, since readers (ngio) refuse them."""
    labels: list[str] = []
    for i, channel in enumerate(channels):
        found = channel.get("label")
        is_text = isinstance(found, str | int | float) and not isinstance(found, bool) and str(found).strip()
        label = str(found).strip() if is_text else f"channel {first + i}"
        count, name = 1, label
        while name in labels:
            count += 1
            name = f"{label} ({count})"
        labels.append(name)
    return labels


def _colors(channels: Sequence[Mapping[str, Any]]) -> list[str]:
    given = [_color(channel.get("color")) for channel in channels]
    usual = {1: (_WHITE,), 2: _PAIR}.get(len(channels), _MANY)
    colors = []
    for i, color in enumerate(given):
        order = [usual[(i + k) % len(usual)] for k in range(len(usual))]
        # avoid colours that the input gives to other channels, if possible
        free = [c for c in order if c not in given]
        colors.append(color or (free or order)[0])
    return colors


def _color(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    text = value.strip().lstrip("#")
    if re.fullmatch(r"[0-9A-Fa-f]{3}", text):
        text = "".join(2 * digit for digit in text)
    if re.fullmatch(r"[0-9A-Fa-f]{6}(?:[0-9A-Fa-f]{2})?", text):
        return text[:6].upper()  # the last two would be the opacity
    return _NAMED.get(text.lower())


def _window(found: Any, dtype: str, shown: Shown | None) -> dict[str, Any]:
    """Return the valid bounds of the input, the others from the dtype and the display range."""
    given: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    derived = _derived(dtype, shown)
    window: dict[str, Any] = {}
    for low, high in (("min", "max"), ("start", "end")):
        a, b = _number(given.get(low)), _number(given.get(high))
        if a is None or b is None or a >= b:
            a, b = derived[low], derived[high]
        window |= {low: a, high: b}
    return window


def _derived(dtype: str, shown: Shown | None) -> dict[str, float | int]:
    if np.dtype(dtype).kind == "f":
        lowest, start, end = shown or (0.0, 0.0, 1.0)
        end = end if end > start else start + max(1.0, abs(start))
        return {"min": min(lowest, start), "max": end, "start": start, "end": end}
    info = np.iinfo(dtype)
    low, high = int(info.min), int(info.max)
    start, end = low, high
    if shown is not None:
        start = min(max(math.floor(shown[1]), low), high - 1)
        end = min(max(math.ceil(shown[2]), start + 1), high)
    return {"min": low, "max": high, "start": start, "end": end}


def _number(value: Any) -> float | int | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _optional(channel: Mapping[str, Any]) -> dict[str, Any]:
    """Return the other entries of a channel, without those of an unexpected type."""
    return {str(k): _plain(v) for k, v in channel.items() if _is_usable(v, _TYPED.get(str(k), object))}


def _is_usable(value: Any, wanted: type | tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return wanted in (bool, object)
    return isinstance(value, wanted) and not (isinstance(value, float) and not math.isfinite(value))


def _rdefs(found: Any, shape: Sequence[int], origin: Mapping[str, int]) -> dict[str, Any]:
    """Return which plane is shown first, counted in the output, and the colour model."""
    given: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    rdefs: dict[str, Any] = {k: given[k] for k in ("model", "projection") if isinstance(given.get(k), str)}
    for key, axis, n in (("defaultT", "t", shape[0]), ("defaultZ", "z", shape[2])):
        value = _number(given.get(key))
        if value is not None:
            rdefs[key] = min(max(int(value) - origin.get(axis, 0), 0), n - 1)
    return rdefs


def _plain(value: Any) -> Any:
    """Return a JSON value: infinities and NaN become null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
