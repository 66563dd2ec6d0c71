"""Names and colours of categorical metrics."""

from __future__ import annotations

from matplotlib.colors import ListedColormap

from ssi_pipeline.methods import RESULTS

CATEGORIES = {
    "status": {0: "pending", 1: "done", 2: "failed"},
    "method": {result.code: result.short for result in RESULTS.values()},
}

COLORS = ListedColormap([result.colour for result in sorted(RESULTS.values(), key=lambda result: result.code)])
