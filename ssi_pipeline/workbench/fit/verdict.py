"""What the data tell about a parameter: a value with its interval, or that they cannot tell, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.workbench.fit.search import Search
from ssi_pipeline.workbench.fit.spectrum import Floats

_SHARE = 0.977
"""Values count as possible whose deviance is within so many standard errors of the best as this share of Student's
distribution is below: two for many windows. Were windows as the model says, one would be 95 %; scenes are not, and the
best is the best of many."""

_LEAST = 3.84
"""Deviance that chance exceeds in 5 % of cases."""

_MODEL = 0.05
"""Least half of an interval as a share of the value: differences between windows do not show an error that all share.
Of a picture whose windows agreed on a defocus 3 % off, at 500 photons, the interval was 1.4 % to either side."""

_PRECISE = 0.2
"""Largest half of an interval as a share of the value, of a value that is told."""

_END = 0.02
"""Distance from an end of the range, as a share of it, that counts as the end."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the data tell about a parameter.

    Attributes
    ----------
    best
        Value of the largest likelihood.
    low, high
        Values between which others explain the data as well.
    reason
        Why the data cannot tell; empty where they can.
    """

    best: float
    low: float
    high: float
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Profile:
    """The values that were tried, rising, with their deviance above that of the best and its standard error."""

    values: Floats
    excess: Floats
    error: Floats
    possible: NDArray[np.bool_]


def profile_of(search: Search) -> Profile:
    """Compare all values with the best, window by window."""
    from scipy.special import stdtrit

    values = sorted(search.fits)
    best, least = search.windows(search.best), search.total(search.best)
    excess = np.array([search.total(each) - least for each in values])
    error = np.sqrt(best.size) * np.array([np.std(search.windows(each) - best, ddof=1) for each in values])
    errors = float(stdtrit(best.size - 1, _SHARE))
    return Profile(np.array(values), excess, error, excess <= np.maximum(errors * error, _LEAST))


def verdict_of(search: Search, profile: Profile) -> Verdict:
    """Return what the data tell."""
    low, high = _interval(profile, _MODEL * abs(search.best))
    return Verdict(search.best, low, high, _reason(search, low, high))


def _interval(profile: Profile, least: float) -> tuple[float, float]:
    """Return the ends of the possible values, half a step farther than the outermost, or ``least`` from the best."""
    values, inside = profile.values, np.flatnonzero(profile.possible)
    first, last = int(inside[0]), int(inside[-1])
    low = (values[max(first - 1, 0)] + values[first]) / 2
    high = (values[min(last + 1, len(values) - 1)] + values[last]) / 2
    best = values[int(np.argmin(profile.excess))]
    return float(max(min(low, best - least), values[0])), float(min(max(high, best + least), values[-1]))


def _reason(search: Search, low: float, high: float) -> str:
    parameter = search.parameter
    margin = _END * (parameter.high - parameter.low)
    at_low, at_high = low <= parameter.low + margin, high >= parameter.high - margin
    if at_low and at_high:
        return "all values that were searched explain the image as well"
    if at_low or at_high:
        told = f"up to {high:.3g}" if at_low else f"from {low:.3g}"
        return f"values {told} explain the image as well, as far as the {'low' if at_low else 'high'} end of the range"
    if (high - low) / 2 > _PRECISE * abs(search.best):
        return f"values from {low:.3g} to {high:.3g} explain the image as well: that is not within {_PRECISE:.0%}"
    return ""
