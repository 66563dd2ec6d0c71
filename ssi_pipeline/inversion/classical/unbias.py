"""Undo the bias that a clipping sensor has on the mean, for solvers that are linear."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ssi_pipeline.inversion.wiener import reflect_pad
from ssi_pipeline.physics.forward import CensoredSensor, ForwardModel

_HALVINGS = 24
"""As many as float32 has digits."""


def sensor_inverse(sensor: CensoredSensor, mean: Tensor) -> Tensor:
    """Return the level z in the sensor's range with mean report ``mean``; a limit where none has.

    A mean below that of the lowest level gives ``low``, one above that of the highest ``high``.
    """
    if sensor.is_linear:
        return mean
    # with one limit alone, clipping moves the mean to one side: the mean itself bounds the level on the other
    lower = torch.full_like(mean, sensor.low) if math.isfinite(sensor.low) else mean
    upper = torch.full_like(mean, sensor.high) if math.isfinite(sensor.high) else torch.maximum(mean, lower)
    lower = torch.minimum(lower, upper)
    for _ in range(_HALVINGS):
        middle = (lower + upper) / 2
        below = sensor(middle) < mean
        lower, upper = torch.where(below, middle, lower), torch.where(below, upper, middle)
    return (lower + upper) / 2


def unbias(image: Tensor, wiener: Callable[[Tensor], Tensor], forward: ForwardModel) -> Tensor:
    """Shift each pixel by what clipping took from, or added to, the mean around it.

    With b = g w(y), the low-pass estimate of the mean report, the result is y + mu^-1(b) - b. Where
    nothing clips it is the image. It depends on the given image alone: J-invariant if that is.

    Parameters
    ----------
    image
        Impulses repaired, normalised, (z) y x.
    wiener
        A linear inverse that keeps the shape.
    """
    if forward.sensor.is_linear:
        return image
    mean = forward.convolution(reflect_pad(wiener(image), forward.radius))
    return image + sensor_inverse(forward.sensor, mean) - mean
