"""Compute the data term of a clipping sensor: the negative log likelihood of a censored normal (Tobin 1958).

For a report y of a level z = B x, times the variance s^2 of the noise:

    (y - z)^2 / 2                    y inside the limits
    -s^2 log Phi((low - z) / s)      y at the low limit: z + noise was at most the limit
    -s^2 log Phi((z - high) / s)     y at the high limit

Each is convex in z with a 1-Lipschitz derivative. Without clipping it is least squares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssi_pipeline.physics.sensor import CensoredSensor

_AT_LIMIT = 1e-3
"""Distance from a limit, in standard deviations of the noise, within which a report is censored: rounding errors."""

_LEAST_SPREAD = 1e-6
"""Least noise at a limit, normalised units, as float32 resolves it; the term is then the square beyond the limit."""

_NEWTON_STEPS = 4
"""Newton steps of the proximal map, which start right of its root, where the equation is convex and none overshoots.
Measured: within 1e-5 of the root, relative to the noise, for steps of 0.05 and more."""

_FAR = 100.0
"""Standard deviations beyond a limit where the curvature is 1 to four digits and its formula cancels in float32."""

_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


class DataTerm:
    """The data term: the sum over the known pixels, as a function of predicted levels z of the shape of ``y``.

    Parameters
    ----------
    y
        Reports at the predicted pixels, (z) y x, normalised.
    known
        False at pixels without a report, shape of ``y``.
    sensor
        Limits and noise in the units of ``y``.
    """

    def __init__(self, y: Tensor, known: Tensor, sensor: CensoredSensor) -> None:
        self._y, self._known = y, known
        self._exact = _Censored.of(y, known, sensor)
        self._censored = None if self._exact is None else self._exact.as_type(y.dtype)

    def value(self, level: Tensor) -> float:
        """Return the value of the term, squared units of ``y``. Synchronises the device."""
        each = self._known * (self._y - level).double().square() / 2
        flat, predicted = each.reshape(-1), level.reshape(-1).double()
        if (at := self._exact) is not None:
            flat[at.index] = -at.spread.square() * torch.special.log_ndtr(at.beyond(predicted[at.index]))
        return float(flat.sum())

    def slope(self, level: Tensor) -> Tensor:
        """Return the derivative by the level at each pixel."""
        slope = self._known * (level - self._y)
        flat, predicted = slope.reshape(-1), level.reshape(-1)
        if (at := self._censored) is not None:
            flat[at.index] = at.signed * _ratio(at.beyond(predicted[at.index]))
        return slope

    def proximal(self, level: Tensor, step: float) -> Tensor:
        """Return the proximal map: argmin over z of term(z) + step (z - level)^2 / 2; ``level`` at unknown pixels."""
        least = torch.where(self._known, (self._y + step * level) / (1 + step), level)
        flat, given = least.reshape(-1), level.reshape(-1)
        if (at := self._censored) is not None:
            start = z = given[at.index]
            for _ in range(_NEWTON_STEPS):
                t = at.beyond(z)
                ratio = _ratio(t)
                curvature = torch.where(t < -_FAR, torch.ones_like(t), ratio * (ratio + t))
                z = z - (at.signed * ratio + step * (z - start)) / (curvature + step)
            flat[at.index] = z
        return least


@dataclass(frozen=True, slots=True)
class _Censored:
    """The censored pixels of both limits, together: as few operations as for one.

    Attributes
    ----------
    index
        Their places in the flat image.
    limit, sign, spread, signed
        Of each: its limit; 1 at the low limit, -1 at the high one; the deviation of the noise there; sign times spread.
    """

    index: Tensor
    limit: Tensor
    sign: Tensor
    spread: Tensor
    signed: Tensor

    @classmethod
    def of(cls, y: Tensor, known: Tensor, sensor: CensoredSensor) -> _Censored | None:
        """Return the censored pixels of an image, values in float64; None where nothing clips."""
        places, rows = [], []
        for limit, sign in ((sensor.low, 1.0), (sensor.high, -1.0)):
            if math.isfinite(limit):
                spread = max(float(sensor.deviation(torch.tensor(limit, dtype=torch.float64))), _LEAST_SPREAD)
                censored = known & (sign * (y - limit) <= _AT_LIMIT * spread)
                places.append(censored.reshape(-1).nonzero()[:, 0])
                rows.append((limit, sign, spread, sign * spread))
        if not rows:
            return None
        columns = torch.tensor(rows, dtype=torch.float64).T.to(y.device)
        each = [columns[:, i : i + 1].expand(-1, len(place)) for i, place in enumerate(places)]
        return cls(torch.cat(places), *torch.cat(each, dim=1))

    def as_type(self, kind: torch.dtype) -> _Censored:
        """Return the same with values of another type."""
        return _Censored(self.index, *(v.to(kind) for v in (self.limit, self.sign, self.spread, self.signed)))

    def beyond(self, level: Tensor) -> Tensor:
        """Return how far the levels at these pixels are beyond their limits, standard deviations of the noise."""
        return self.sign * (self.limit - level) / self.spread


def _ratio(t: Tensor) -> Tensor:
    """Return phi(t) / Phi(t) by erfcx, which neither overflows nor cancels."""
    ratio: Tensor = _SQRT_2_OVER_PI / torch.special.erfcx(-t / math.sqrt(2))
    return ratio
