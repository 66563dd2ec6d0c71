"""Rank several reconstructions of one tile without ground truth, by the sum of their ranks in each metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

SCORED = ("heldout_excess", "whiteness", "r2r_risk", "background")
"""Metrics whose ranks are added; lower is better for each.

The first three compare after the PSF, which suppresses fine noise of the estimate; the last measures that noise in the
background.
"""


def rank_sum(candidates: Sequence[Mapping[str, float]], names: Sequence[str] = SCORED) -> NDArray[np.float64]:
    """Return the score of each candidate, the sum of its ranks over the metrics; lower is better.

    A metric that is missing (or NaN) in any candidate is left out for all; an infinite value ranks last. Ties share
    the mean rank. Ranks are relative to the candidates given: scores of two calls are not comparable.

    Parameters
    ----------
    candidates
        Metrics by name, one mapping per candidate.
    names
        Metrics to use.

    Returns
    -------
    score
        float64, one per candidate.

    Raises
    ------
    ValueError
        The candidates have no metric in common.
    """
    columns = [np.array([c.get(name, np.nan) for c in candidates], np.float64) for name in names]
    usable = [column for column in columns if not np.isnan(column).any()]
    if candidates and not usable:
        raise ValueError(f"expected at least one of {', '.join(names)} in every candidate, found none")
    return np.asarray(sum((_ranks(column) for column in usable), np.zeros(len(candidates))), np.float64)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value, from 1; ties share their mean rank."""
    ordered = np.sort(values)
    below, up_to = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return (below + up_to + 1) / 2
