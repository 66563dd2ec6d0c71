"""Compute the data term of a clipping sensor: the negative log likelihood of a censored normal (Tobin 1958).

For a report y of a level z = B x, times the variance s^2 of the noise:

    (y - z)^2 / 2                    y inside the limits
    -s^2 log Phi((low - z) / s)      y at the low limit: z + noise was at most the limit
    -s^2 log Phi((z - high) / s)     y at the high limit

Each is convex in z with a 1-Lipschitz derivative. Without clipping it is least squares.
"""

from __future__ import annotations

import math

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
        self._censored: list[tuple[Tensor, float, float, float]] = []  # flat indices, limit, sign, spread
        for limit, sign in ((sensor.low, 1.0), (sensor.high, -1.0)):
            if math.isfinite(limit):
                spread = max(float(sensor.deviation(torch.tensor(limit, dtype=torch.float64))), _LEAST_SPREAD)
                censored = known & (sign * (y - limit) <= _AT_LIMIT * spread)
                self._censored.append((censored.reshape(-1).nonzero()[:, 0], limit, sign, spread))

    def value(self, level: Tensor) -> float:
        """Return the value of the term, squared units of ``y``. Synchronises the device."""
        each = self._known * (self._y - level).double().square() / 2
        flat, predicted = each.reshape(-1), level.reshape(-1).double()
        for index, limit, sign, spread in self._censored:
            flat[index] = -(spread**2) * torch.special.log_ndtr(sign * (limit - predicted[index]) / spread)
        return float(flat.sum())

    def slope(self, level: Tensor) -> Tensor:
        """Return the derivative by the level at each pixel."""
        slope = self._known * (level - self._y)
        flat, predicted = slope.reshape(-1), level.reshape(-1)
        for index, limit, sign, spread in self._censored:
            flat[index] = sign * spread * _ratio(sign * (limit - predicted[index]) / spread)
        return slope

    def proximal(self, level: Tensor, step: float) -> Tensor:
        """Return the proximal map: argmin over z of term(z) + step (z - level)^2 / 2; ``level`` at unknown pixels."""
        least = torch.where(self._known, (self._y + step * level) / (1 + step), level)
        flat, given = least.reshape(-1), level.reshape(-1)
        for index, limit, sign, spread in self._censored:
            start = z = given[index]
            for _ in range(_NEWTON_STEPS):
                t = sign * (limit - z) / spread
                ratio = _ratio(t)
                curvature = torch.where(t < -_FAR, torch.ones_like(t), ratio * (ratio + t))
                z = z - (sign * spread * ratio + step * (z - start)) / (curvature + step)
            flat[index] = z
        return least


def _ratio(t: Tensor) -> Tensor:
    """Return phi(t) / Phi(t) by erfcx, which neither overflows nor cancels."""
    ratio: Tensor = _SQRT_2_OVER_PI / torch.special.erfcx(-t / math.sqrt(2))
    return ratio
