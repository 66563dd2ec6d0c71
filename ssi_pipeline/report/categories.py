"""Metrics that are codes: what each code is called, and its colour."""

from __future__ import annotations

from matplotlib.colors import ListedColormap

from ssi_pipeline.run.finish import METHODS

_METHOD_NAMES = {
    "wiener": "Wiener",
    "richardson_lucy": "Richardson-Lucy",
    "tv": "total variation",
    "tv_cg": "total variation (CG)",
}
"""Shorter than in the outcome; the others are called what they are."""

CATEGORIES = {
    "status": {0: "to do", 1: "done", 2: "failed"},
    "method": {code: _METHOD_NAMES.get(name, name) for name, code in METHODS.items()},
}

COLORS = ListedColormap(
    ["#fde725", "#a0da39", "#440154", "#277f8e", "#365c8d", "#4ac16d", "#46327e", "#1fa187", "#bdbdbd"]
)  # steps of viridis; done and failed, network and linear solution far apart in lightness; what was left alone is grey
