"""What the data tell about each parameter: a value with its interval, or that they cannot tell, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.workbench.fit.parameters import Parameter
from ssi_pipeline.workbench.fit.search import Search, Values
from ssi_pipeline.workbench.fit.spectrum import Floats

_SHARE = 0.977
"""Values count as possible whose deviance is within so many standard errors of the best as this share of Student's
distribution is below: two for many windows. Were windows as the model says, one would be 95 %; scenes are not, and the
best is the best of many."""

_LEAST = 3.84
"""Deviance that chance exceeds in 5 % of cases."""

_PRECISE = 0.2
"""Largest half of an interval as a share of the value, of a value that is told."""

_END = 0.02
"""Distance from an end of the range, as a share of it, that counts as the end."""

_SAME = 1e-6
"""Largest difference of |H|^2 over a range that has no effect on the PSF."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the data tell about one parameter.

    Attributes
    ----------
    parameter
        What was free.
    best
        Value of the largest likelihood.
    low, high
        Values between which others explain the data as well.
    reason
        Why the data cannot tell; empty where they can.
    """

    parameter: Parameter
    best: float
    low: float
    high: float
    reason: str = ""

    @property
    def told(self) -> bool:
        """Whether the data tell the value."""
        return not self.reason


@dataclass(frozen=True, eq=False)
class Profile:
    """The deviance of all values that were tried, above that of the best."""

    values: list[Values]
    excess: Floats
    error: Floats
    possible: NDArray[np.bool_]

    def along(self, axis: int) -> tuple[Floats, Floats, Floats]:
        """Return values of a parameter, the least deviance of each over the others, and its standard error."""
        column = np.array([values[axis] for values in self.values])
        distinct = np.unique(column)
        rows = [np.nonzero(column == value)[0] for value in distinct]
        least = [row[int(np.argmin(self.excess[row]))] for row in rows]
        return distinct, self.excess[least], self.error[least]


def profile_of(search: Search) -> Profile:
    """Compare all values with the best, window by window."""
    from scipy.special import stdtrit

    values = sorted(search.fits)
    best = search.windows(search.best)
    least = search.total(search.best)
    excess = np.array([search.total(each) - least for each in values])
    spread = [float(np.std(search.windows(each) - best, ddof=1)) * np.sqrt(best.size) for each in values]
    error = np.array(spread)
    errors = float(stdtrit(best.size - 1, _SHARE))
    return Profile(values, excess, error, excess <= np.maximum(errors * error, _LEAST))


def verdicts_of(search: Search, profile: Profile) -> list[Verdict]:
    """Return what the data tell about each parameter."""
    best = search.best
    return [_verdict(search, profile, axis, best[axis]) for axis in range(len(search.parameters))]


def _verdict(search: Search, profile: Profile, axis: int, best: float) -> Verdict:
    parameter = search.parameters[axis]
    low, high = _interval(profile, axis)
    verdict = Verdict(parameter, best, low, high)
    reason = _reason(search, axis, verdict)
    return Verdict(parameter, best, low, high, reason)


def _interval(profile: Profile, axis: int) -> tuple[float, float]:
    """Return the ends of the possible values, half a step farther than the outermost."""
    column = np.array([values[axis] for values in profile.values])
    distinct = np.unique(column)
    inside = column[profile.possible]
    first, last = (int(np.searchsorted(distinct, end)) for end in (inside.min(), inside.max()))
    low = (distinct[max(first - 1, 0)] + distinct[first]) / 2
    high = (distinct[min(last + 1, len(distinct) - 1)] + distinct[last]) / 2
    return float(low), float(high)


def _reason(search: Search, axis: int, verdict: Verdict) -> str:
    parameter, low, high = verdict.parameter, verdict.low, verdict.high
    span = parameter.high - parameter.low
    at_low, at_high = low <= parameter.low + _END * span, high >= parameter.high - _END * span
    if _without_effect(search, axis):
        return "it has no effect on this PSF (of one plane, where tiles are 2D)"
    if at_low and at_high:
        return f"all values explain the image as well: {_ALL}"
    if at_low or at_high:
        told = f"up to {high:.3g}" if at_low else f"from {low:.3g}"
        return f"values {told} explain the image as well: {_ONE_SIDED}, or the end of the range"
    if (high - low) / 2 > _PRECISE * abs(verdict.best):
        return f"values from {low:.3g} to {high:.3g} explain the image as well: too little detail above the noise"
    return ""


_ALL = "too little detail above the noise, or no zero of the PSF's transfer function in it"

_ONE_SIDED = "a smoother scene with a sharper PSF looks the same"


def _without_effect(search: Search, axis: int) -> bool:
    ends = []
    for end in (search.parameters[axis].low, search.parameters[axis].high):
        values = list(search.best)
        values[axis] = end
        ends.append(search.transfer(tuple(values)))
    return float(np.abs(ends[0] - ends[1]).max()) < _SAME
