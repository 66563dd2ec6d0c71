"""Metric browser: the metrics as data for the page's script."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from ssi_pipeline.geometry.volume import AXES
from ssi_pipeline.report.categories import CATEGORIES, COLORS
from ssi_pipeline.report.facts import RunFacts
from ssi_pipeline.report.grids import Values, badness, coarsen
from ssi_pipeline.report.ranking import meaning, shown_metrics
from ssi_pipeline.report.section import Section, render
from ssi_pipeline.report.sections.maps import make_scale

_MOST_BYTES = 6_000_000
"""Cells of all metrics together, one byte each before base64: the whole page stays below 20 MB."""

_LEVELS = 254
_WORST = 5


@dataclass(frozen=True, slots=True)
class Levels:
    """A metric in one byte per cell: 0 no value, 1 to 255 from ``low`` to ``high``; for categories the code + 1."""

    codes: NDArray[np.uint8]
    low: float
    high: float
    log: bool


def explorer_section(facts: RunFacts) -> Section:
    """Build the interactive section that shows one plane of one metric; empty if no metric varies."""
    varying = {name: values for name, values in shown_metrics(facts).items() if _varies(values)}
    if not varying:
        return Section("explorer", "Metric browser", render("explorer", data="", names=(), axes=()))
    most = _MOST_BYTES // len(varying)
    cell = next(coarsen(name, values, most)[1] for name, values in varying.items())
    document = {
        "axes": "".join(AXES),
        "grid": facts.context.plan.tile_grid,
        "cell": cell,
        "channels": [facts.channel_name(c) for c in range(facts.context.plan.tile_grid[1])],
        "ramp": [to_hex(color) for color in colormaps["cividis"](np.linspace(0, 1, 255))],
        "kinds": [to_hex(COLORS(code)) for code in range(COLORS.N)],
        "metrics": {name: _metric(name, values, most) for name, values in varying.items()},
    }
    html = render("explorer", data=_script_safe(document), names=_first_the_best_known(varying), axes="tcz")
    return Section("explorer", "Metric browser", html)


def _varies(values: Values) -> bool:
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() != finite.max())  # 'status' shows the tiles without any value


def _first_the_best_known(varying: dict[str, Values]) -> list[str]:
    """Sort the metrics: quality first, then properties of the tile."""
    order = [name for name in ("heldout_excess", "heldout_after", "seam", "alarms") if name in varying]
    return [*order, *(name for name in varying if name not in order)]


def _metric(name: str, values: Values, most: int) -> dict[str, Any]:
    coarse, _ = coarsen(name, values, most)
    levels = quantised(name, coarse, values)
    kinds = CATEGORIES.get(name)
    return {
        "about": meaning(name),
        "shape": coarse.shape,
        "codes": base64.b64encode(levels.codes.tobytes()).decode(),
        "low": levels.low,
        "high": levels.high,
        "log": levels.log,
        "names": [kinds[code] for code in sorted(kinds)] if kinds else [],
        "worst": [] if kinds else _worst(name, values),
    }


def quantised(name: str, coarse: Values, values: Values) -> Levels:
    """Quantise a metric to 254 steps within the colour scale of all ``values``."""
    known = np.isfinite(coarse)
    codes = np.zeros(coarse.shape, np.uint8)
    if name in CATEGORIES:
        codes[known] = coarse[known].astype(np.uint8) + 1
        return Levels(codes, 0.0, float(len(CATEGORIES[name]) - 1), False)
    scale = make_scale(values)
    low, high = float(scale.edges[0]), float(scale.edges[-1])
    inside = np.clip(coarse[known].astype(np.float64), low, high)
    share = np.log(inside / low) / np.log(high / low) if scale.log else (inside - low) / (high - low)
    codes[known] = 1 + np.rint(share * _LEVELS).astype(np.uint8)
    return Levels(codes, low, high, scale.log)


def _worst(name: str, values: Values) -> list[tuple[int, list[int], float]]:
    """Return index, grid position and value of the worst tiles."""
    bad = badness(name, values.ravel())
    bad[np.isnan(bad)] = -np.inf
    count = min(_WORST, int(np.isfinite(bad).sum()))
    chosen = np.argpartition(-bad, count - 1)[:count] if count else np.empty(0, np.int64)
    order = chosen[np.argsort(-bad[chosen], kind="stable")]
    flat = values.ravel()
    return [(int(i), [int(p) for p in np.unravel_index(i, values.shape)], float(f"{flat[i]:.6g}")) for i in order]


def _script_safe(document: dict[str, Any]) -> Markup:
    """Return JSON with '<' escaped, so that no text can close the script element."""
    return Markup(json.dumps(document, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026"))
