"""Ranking of tiles: the worst, the median and the best, and those with alarms."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.report.facts import RunFacts
from ssi_pipeline.report.grids import badness
from ssi_pipeline.results.finish import METRICS

_VERDICTS = ("heldout_excess",)
_FLAG = "flag"


def ranked(facts: RunFacts) -> tuple[str, NDArray[np.float64]]:
    """Return the ranking criterion in words, and the badness of each tile (flat, larger is worse, NaN unknown)."""
    metrics = facts.metrics
    for name in _VERDICTS:
        if name in metrics and np.isfinite(metrics[name]).any():
            return name.replace("_", " "), badness(name, metrics[name].ravel())
    after, wiener = (metrics[f"heldout_{name}"].ravel().astype(np.float64) for name in ("after", "wiener"))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = after / wiener
    ratio[~np.isfinite(ratio)] = np.nan
    if np.isfinite(ratio).any() and np.nanmin(ratio) != np.nanmax(ratio):
        return "ratio of the held-out loss to that of the linear solution", ratio
    return "held-out loss", after


def worst_median_best(bad: NDArray[np.float64]) -> dict[int, str]:
    """Return the names by tile index; fewer than three if there are fewer tiles."""
    (known,) = np.nonzero(np.isfinite(bad))
    order = known[np.argsort(bad[known], kind="stable")]
    if not order.size:
        return {}
    chosen = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    return dict(reversed([(int(index), name) for name, index in chosen.items()]))


def alarm_counts(facts: RunFacts) -> tuple[int, list[tuple[str, int]]]:
    """Return the number of tiles with an alarm, and the number by alarm; empty if alarms were not measured."""
    values = facts.metrics.get(_FLAG)
    if values is None or not np.isfinite(values).any():
        return 0, []
    bits = np.nan_to_num(values).astype(np.int64)
    counts = [(name, int(np.count_nonzero(bits & bit))) for bit, name in _alarm_names()]
    return int(np.count_nonzero(bits)), [(name, count) for name, count in counts if count]


def alarms_of(facts: RunFacts, index: int) -> list[str]:
    """Return the names of a tile's alarms."""
    values = facts.metrics.get(_FLAG)
    bits = 0 if values is None else int(np.nan_to_num(values.ravel()[index]))
    return [name for bit, name in _alarm_names() if bits & bit]


def shown_metrics(facts: RunFacts) -> dict[str, NDArray[np.float32]]:
    """Return the metrics, with the alarm bits replaced by the number of alarms, which fits a colour scale."""
    shown = {name: values for name, values in facts.metrics.items() if name != _FLAG}
    if _FLAG in facts.metrics:
        known = np.isfinite(facts.metrics[_FLAG])
        bits = np.where(known, facts.metrics[_FLAG], 0).astype(np.int64)
        counts = sum((bits >> place) & 1 for place in range(len(_alarm_names())))
        shown["alarms"] = np.where(known, counts, np.nan).astype(np.float32)
    return shown


def meaning(name: str) -> str:
    """Return the description of a metric."""
    return METRICS.get(name, "number of alarms of the tile")


def _alarm_names() -> list[tuple[int, str]]:
    """Parse bits and names from the description of the metric: '1 this, 2 that'."""
    return [(int(bit), name) for bit, name in re.findall(r"(\d+) ([\w-]+)", METRICS.get(_FLAG, ""))]
