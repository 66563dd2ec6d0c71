"""Undo the bias that a clipping sensor has on the mean, for the parts of an inverse that are linear."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ssi_pipeline.geometry.halo import UNBIAS_RADIUS
from ssi_pipeline.inversion.linear.wiener import LinearFilter
from ssi_pipeline.physics.sensor import CensoredSensor

_SIGMA = UNBIAS_RADIUS / 3
"""Of the Gaussian that estimates the mean around a pixel: it keeps a seventh of the noise's deviation."""

_KNOTS = 4097
"""Of the table of mu^-1, linear between them: off by less than 2e-5 of the range, far below what the mean tells."""

_FAR = 8.0
"""Deviations from a limit beyond which clipping changes the mean by nothing that float32 holds."""


class ClippingBias:
    """Shifts each pixel by what clipping took from, or added to, the mean around it.

    With b a Gaussian mean of the image over the plane y x, the result is y + mu^-1(b) - b, mu being the
    sensor's mean report. A mean below that of the lowest level counts as that of the lowest level, likewise
    above. Where nothing clips it is the image. It depends on the given image alone.
    """

    def __init__(self, sensor: CensoredSensor, axes: int, device: str = "cpu") -> None:
        self._sensor = sensor
        if sensor.is_linear:
            return
        g = np.exp(-0.5 * (np.arange(-UNBIAS_RADIUS, UNBIAS_RADIUS + 1) / _SIGMA) ** 2)
        kernel = np.outer(g, g) / g.sum() ** 2
        self._mean = LinearFilter(kernel.reshape((1,) * (axes - 2) + kernel.shape), device)
        levels = np.linspace(*_span(sensor), _KNOTS)
        # below a high limit noise that grows very fast can make mu fall: no report tells such levels apart
        reports = np.maximum.accumulate(sensor(torch.from_numpy(levels)).numpy())
        self._first, self._last = float(reports[0]), float(reports[-1])
        even = np.linspace(self._first, self._last, _KNOTS)
        self._levels = torch.from_numpy(np.interp(even, reports, levels).astype(np.float32)).to(device)

    def __call__(self, image: Tensor) -> Tensor:
        """Return the shifted image, normalised, (z) y x; impulses should have been repaired."""
        if self._sensor.is_linear:
            return image
        mean = self._mean(image)
        return image + self._level(mean) - mean

    def _level(self, mean: Tensor) -> Tensor:
        """Return mu^-1 of each mean."""
        place = (mean.clamp(self._first, self._last) - self._first) * ((_KNOTS - 1) / (self._last - self._first))
        knot = place.long().clamp(max=_KNOTS - 2)
        level = torch.lerp(self._levels[knot], self._levels[knot + 1], place - knot)
        if math.isinf(self._sensor.low):
            level = level + (mean - self._first).clamp(max=0)
        if math.isinf(self._sensor.high):
            level = level + (mean - self._last).clamp(min=0)
        return level


def _span(sensor: CensoredSensor) -> tuple[float, float]:
    """Return the levels between which mu has to be inverted; beyond them, where there is no limit, it is z."""
    low, high = sensor.low, sensor.high
    if math.isinf(low):
        low = high - _FAR * _deviation(sensor, high)
    if math.isinf(high):
        # the deviation grows with the level: a few steps of its own find a level that is far in its own measure
        high = low + _FAR * _deviation(sensor, low)
        for _ in range(4):
            high = low + _FAR * _deviation(sensor, high)
    return low, high


def _deviation(sensor: CensoredSensor, level: float) -> float:
    return float(sensor.deviation(torch.tensor(level, dtype=torch.float64)))
