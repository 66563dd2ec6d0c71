"""Correct the bias of clipping on the mean, for the linear parts of an inverse."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ssi_pipeline.geometry.halo import UNBIAS_RADIUS
from ssi_pipeline.inversion.linear.wiener import LinearFilter
from ssi_pipeline.physics.sensor import CensoredSensor

_SIGMA = UNBIAS_RADIUS / 3
"""Standard deviation of the Gaussian local mean, pixels: it reduces the noise to a seventh."""

_KNOTS = 4097
"""Knots of the table of mu^-1: linear interpolation has an error below 2e-5 of the range, far below the noise."""

_FAR = 8.0
"""Standard deviations from a limit beyond which the effect of clipping on the mean is below float32."""


class ClippingBias:
    """Shifts each pixel by the bias of clipping on the local mean.

    With b a Gaussian mean of the image y over the plane y x and mu the expected report of the sensor, the result is
    y + mu^-1(b) - b. Means outside the range of mu are clamped to it. Without clipping the result is the image.

    Parameters
    ----------
    sensor
        Noise and limits, normalised units.
    axes
        Number of spatial axes, 2 or 3.
    device
        Torch device.
    """

    def __init__(self, sensor: CensoredSensor, axes: int, device: str = "cpu") -> None:
        self._sensor = sensor
        if sensor.is_linear:
            return
        g = np.exp(-0.5 * (np.arange(-UNBIAS_RADIUS, UNBIAS_RADIUS + 1) / _SIGMA) ** 2)
        kernel = np.outer(g, g) / g.sum() ** 2
        self._mean = LinearFilter(kernel.reshape((1,) * (axes - 2) + kernel.shape), device)
        levels = np.linspace(*_span(sensor), _KNOTS)
        # noise that grows very fast below the upper limit can make mu non-monotonic: such levels are not invertible
        reports = np.maximum.accumulate(sensor(torch.from_numpy(levels)).numpy())
        self._first, self._last = float(reports[0]), float(reports[-1])
        even = np.linspace(self._first, self._last, _KNOTS)
        self._levels = torch.from_numpy(np.interp(even, reports, levels).astype(np.float32)).to(device)

    def __call__(self, image: Tensor) -> Tensor:
        """Return the corrected image (z) y x, normalised. Impulses have to be repaired before."""
        if self._sensor.is_linear:
            return image
        mean = self._mean(image)
        return image + self._level(mean) - mean

    def _level(self, mean: Tensor) -> Tensor:
        """Return mu^-1 of each local mean."""
        place = (mean.clamp(self._first, self._last) - self._first) * ((_KNOTS - 1) / (self._last - self._first))
        knot = place.long().clamp(max=_KNOTS - 2)
        level = torch.lerp(self._levels[knot], self._levels[knot + 1], place - knot)
        if math.isinf(self._sensor.low):
            level = level + (mean - self._first).clamp(max=0)
        if math.isinf(self._sensor.high):
            level = level + (mean - self._last).clamp(min=0)
        return level


def _span(sensor: CensoredSensor) -> tuple[float, float]:
    """Return the range of levels in which mu is tabulated; beyond it, on a side without limit, mu is the identity."""
    low, high = sensor.low, sensor.high
    if math.isinf(low):
        low = high - _FAR * _deviation(sensor, high)
    if math.isinf(high):
        # the standard deviation grows with the level: iterate to a level that is _FAR of its own deviations away
        high = low + _FAR * _deviation(sensor, low)
        for _ in range(4):
            high = low + _FAR * _deviation(sensor, high)
    return low, high


def _deviation(sensor: CensoredSensor, level: float) -> float:
    return float(sensor.deviation(torch.tensor(level, dtype=torch.float64)))
