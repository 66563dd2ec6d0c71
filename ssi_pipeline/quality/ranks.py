"""The score: which of several reconstructions of one tile is the best, without the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

SCORED = ("heldout_excess", "whiteness", "r2r_risk", "background")
"""The metrics whose ranks are added: each is lower for a better estimate.

The first three see an estimate through the PSF, where noise that the PSF hides is free; the last sees it in the dark.
"""


def rank_sum(candidates: Sequence[Mapping[str, float]], names: Sequence[str] = SCORED) -> NDArray[np.float64]:
    """Return the score of each candidate, lower is better: the sum of its ranks by each metric.

    A metric that is missing (or NaN) in any candidate is left out for all; a value that is infinite is the worst.
    Ranks are those among the candidates given, ties share theirs: scores of two calls cannot be compared.

    Raises
    ------
    ValueError
        The candidates have no metric in common.
    """
    from scipy.stats import rankdata  # half a second of imports that plan and status do not need

    columns = [np.array([c.get(name, np.nan) for c in candidates], np.float64) for name in names]
    usable = [column for column in columns if not np.isnan(column).any()]
    if candidates and not usable:
        raise ValueError(f"expected at least one of {', '.join(names)} in every candidate, found none")
    return np.asarray(sum((rankdata(column) for column in usable), np.zeros(len(candidates))), np.float64)
