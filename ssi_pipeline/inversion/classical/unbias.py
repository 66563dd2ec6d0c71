"""Undo the bias that a clipping sensor has on the mean, for solvers that are linear."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ssi_pipeline.inversion.wiener import reflect_pad
from ssi_pipeline.physics.forward import ForwardModel


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
    return image + forward.sensor.invert(mean) - mean
