"""Layers of the grid of tiles: metrics, alarms, methods, and what is not written yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import ConfigError
from ssi_pipeline.methods import RESULTS
from ssi_pipeline.quality.alarms import names_of
from ssi_pipeline.results.finish import METRICS, STATUSES
from ssi_pipeline.view.frame import Frame
from ssi_pipeline.view.images import LayerData, layer_name

SHOWN = ("heldout_excess", "whiteness", "chi2", "light_ratio", "decorrelation_after", "seam")
"""Metrics that get a map unless others are asked for."""

ALWAYS = ("status", "method", "flag")
"""Metrics that are codes, for layers of their own."""

_ALARM, _FAILED, _PENDING = "#ff9f1c", "#e3173e", "#5a6472"

Grids = Mapping[str, NDArray[np.float32]]


def chosen_metrics(text: str | None) -> tuple[str, ...]:
    """Return the metrics of an option ``a,b`` or ``all``; None: the usual ones.

    Raises
    ------
    ConfigError
        One does not exist.
    """
    known = [name for name in METRICS if name not in ALWAYS]
    names = SHOWN if text is None else tuple(known) if text == "all" else tuple(filter(None, text.split(",")))
    for name in names:
        if name not in known:
            raise ConfigError(f"--maps {name}: there is no such map; expected all, or some of {', '.join(known)}")
    return names


def tile_layers(frame: Frame, metrics: Grids, channels: Sequence[str], names: Sequence[str]) -> list[LayerData]:
    """Return the maps of one value for each tile, hidden, and the alarms, visible.

    Parameters
    ----------
    frame
        Of the grid of tiles.
    metrics
        By name, on the grid of tiles (t c z y x), NaN where a tile has none.
    channels
        Name of each channel.
    names
        Metrics to show; one that has a single value in all tiles is left out.
    """
    layers = [layer for name in names for layer in _metric(frame, metrics, channels, name)]
    for c, channel in enumerate(channels):
        layers += _methods(frame, metrics["method"], c, channel)
        layers.append(_alarms(frame, metrics, c, channel))
    return layers


def _metric(frame: Frame, metrics: Grids, channels: Sequence[str], name: str) -> list[LayerData]:
    values = metrics.get(name)
    finite = np.array([]) if values is None else values[np.isfinite(values)]
    if values is None or not finite.size or finite.min() == finite.max():
        return []
    window = [float(v) for v in np.percentile(finite.astype(np.float64), [1, 99])]
    if window[0] == window[1]:
        window = [float(finite.min()), float(finite.max())]
    options = {"colormap": "viridis", "contrast_limits": window, "opacity": 0.6, "visible": False, "rgb": False}
    return [
        (
            frame.select(values, c),
            {"name": layer_name(name, channel), "metadata": {"meaning": METRICS[name]}, **options, **frame.options()},
            "image",
        )
        for c, channel in enumerate(channels)
    ]


def _methods(frame: Frame, codes: NDArray[np.float32], c: int, channel: str) -> list[LayerData]:
    """Return which solver the tiles were solved by, where that differs."""
    values = frame.select(codes, c)
    found = np.unique(values[np.isfinite(values)]).astype(int)
    if len(found) < 2:
        return []
    rows = {result.code: result for result in RESULTS.values() if result.code in found}
    labels = np.where(np.isfinite(values), np.nan_to_num(values) + 1, 0).astype(np.uint8)
    words = ["", *(row.title for row in rows.values())]
    colours = {code + 1: row.colour for code, row in rows.items()}
    numbers = [0, *(code + 1 for code in rows)]
    return [_labels(labels, layer_name("solved by", channel), frame, numbers, words, colours, visible=False)]


def _alarms(frame: Frame, metrics: Grids, c: int, channel: str) -> LayerData:
    """Return the flagged tiles; the status bar names the alarms of the one below the pointer."""
    flags = np.nan_to_num(frame.select(metrics["flag"], c))
    failed = frame.select(metrics["status"], c) == STATUSES["failed"]
    kinds, which = np.unique(flags, return_inverse=True)
    kinds, which = (kinds, which) if kinds[0] == 0 else (np.array([0, *kinds]), which + 1)
    labels = which.reshape(flags.shape).astype(np.uint16)
    labels[failed] = len(kinds)
    words = [", ".join(names_of(float(flag))) for flag in kinds] + ["failed"]
    colours = dict.fromkeys(range(1, len(kinds)), _ALARM) | {len(kinds): _FAILED}
    return _labels(labels, layer_name("alarms", channel), frame, list(range(len(words))), words, colours)


def unwritten_layers(frame: Frame, written: NDArray[np.bool_], channels: Sequence[str]) -> list[LayerData]:
    """Return what has no pixels yet, so that its zeros are not taken for an estimate; nothing of a whole output.

    ``frame``, ``written``: of the grid of blocks (t c z y x).
    """
    if written.all():
        return []
    words, colours = ["", "not written yet"], {1: _PENDING}
    return [
        _labels(
            (~frame.select(written, c)).astype(np.uint8),
            layer_name("not written yet", channel),
            frame,
            [0, 1],
            words,
            colours,
            opacity=0.6,
        )
        for c, channel in enumerate(channels)
    ]


def _labels(
    labels: NDArray[Any],
    name: str,
    frame: Frame,
    numbers: Sequence[int],
    words: Sequence[str],
    colours: Mapping[int, str],
    visible: bool = True,
    opacity: float = 0.45,
) -> LayerData:
    colormap: dict[int | None, str] = {0: "transparent", None: "transparent"}
    colormap.update(colours.items())
    options = {
        "name": name,
        "colormap": colormap,
        "features": {"index": list(numbers), "tile": list(words)},
        "opacity": opacity,
        "visible": visible,
        **frame.options(),
    }
    return labels, options, "labels"
