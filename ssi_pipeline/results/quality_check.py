"""Compare the metrics under ``quality/`` with the ledger, from which they are repaired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.results.finish import METRICS
from ssi_pipeline.storage.outputs.quality_arrays import read_whole_quality
from ssi_pipeline.tasks import Context

_MOST_NAMES = 4


def quality_problem(context: Context, metrics: Mapping[str, NDArray[np.float32]] | None = None) -> str | None:
    """Return the problem of the metrics in a complete output, None if there is none.

    ``metrics``: those of the ledger, by name; without them only missing or unreadable arrays are found.
    """
    bad = dict(_problems(context, metrics))
    if not bad:
        return None
    names = ", ".join(list(bad)[:_MOST_NAMES]) + (", ..." if len(bad) > _MOST_NAMES else "")
    kinds = " or ".join(dict.fromkeys(bad.values()))
    return f"{context.document.config.output.path / 'quality'}: {len(bad)} of {len(METRICS)} metrics {kinds} ({names})"


def _problems(context: Context, metrics: Mapping[str, NDArray[np.float32]] | None) -> Iterator[tuple[str, str]]:
    output = context.document.config.output.path
    for name in METRICS:
        values = read_whole_quality(output, name, context.plan.tile_grid)
        if values is None:
            yield name, "missing or unreadable"
        elif metrics is not None and not np.array_equal(values, metrics[name], equal_nan=True):
            yield name, "different from the ledger"
