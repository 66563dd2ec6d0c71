"""Solve the linear problem of an image that is narrow for the PSF, by conjugate gradients.

A Wiener filter needs values outside the image, which mirror it. That is good enough for the border of an image. In a
stack of twelve planes with a PSF of thirty, every pixel depends on them. Instead the light outside is estimated:

    minimise |M (B x - y)|^2 + weight |L x|^2

with M the measured pixels. Measured on twelve planes with a Gaussian PSF of 21: 18.8 dB by the filter, 25.7 dB by this,
26.4 dB by the filter with the true measurement outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.inversion.bounded import dot
from ssi_pipeline.inversion.differences import box_of
from ssi_pipeline.inversion.linear.wiener import laplacian
from ssi_pipeline.physics.fft_size import fast_size
from ssi_pipeline.physics.forward import ForwardModel

NARROW = 4
"""Image size in PSF radii below which more than half of the predicted pixels depend on the surroundings."""

_ITERATIONS = 15
"""Iterations from the mean level. On stacks of 12 planes (two PSFs, three weights) 30 gain 0.3 dB or less."""

_TINY = 1e-30


def is_narrow(known: Tensor, radius: Ints) -> bool:
    """Return whether an image is narrow for the PSF along some axis; synchronises the device.

    Parameters
    ----------
    known
        False at pixels without a measurement, (z) y x. The image is the smallest box that contains all others.
    radius
        Radius of the PSF in pixels, (z) y x.
    """
    sizes = [s.stop - s.start for s in box_of(known)]
    return any(0 < size < min(NARROW * r, n) for size, r, n in zip(sizes, radius, known.shape, strict=True))


def solve_narrow(forward: ForwardModel, image: Tensor, known: Tensor, weight: float) -> Tensor:
    """Return the linear solution (z) y x, normalised; values at pixels that are not ``known`` are ignored."""
    size = fast_size(tuple(image.shape))
    inside = tuple(slice(0, n) for n in image.shape)
    prior = weight * torch.from_numpy(laplacian(size) ** 2).to(image.device)
    rough = prior.to(image.dtype)
    inverse = (1 / (forward.power_bound(size) + prior + _TINY)).to(image.dtype)
    measured = forward.crop(known).to(image.dtype)

    def filtered(x: Tensor, response: Tensor) -> Tensor:
        """Apply a circular filter."""
        out: Tensor = torch.fft.irfftn(torch.fft.rfftn(x, s=size) * response, s=size)[inside]
        return out

    def normal(x: Tensor) -> Tensor:
        """Return (B* M B + weight L* L) x."""
        return forward.adjoint(measured * forward.level(x)) + filtered(x, rough)

    level = (image * known).sum() / known.sum().clamp(min=1)
    x = torch.ones_like(image) * level
    right = forward.adjoint(measured * forward.crop(image))
    return conjugate_gradients(normal, lambda image: filtered(image, inverse), right, x, _ITERATIONS)


def conjugate_gradients(
    normal: Callable[[Tensor], Tensor],
    precondition: Callable[[Tensor], Tensor],
    right: Tensor,
    x: Tensor,
    iterations: int,
) -> Tensor:
    """Return x after some preconditioned iterations towards the solution of ``normal`` x = ``right``."""
    size_before: Tensor | float = math.inf
    residual, direction = right - normal(x), torch.zeros_like(x)
    for _ in range(iterations):
        step = precondition(residual)
        size = dot(residual, step)
        size = torch.where(size > _TINY, size, 0.0)  # at the solution: no step, and no waiting to know it
        direction = torch.addcmul(step, direction, size / size_before)
        change = normal(direction)
        length = size / dot(direction, change).clamp(min=_TINY)
        x, residual = torch.addcmul(x, direction, length), torch.addcmul(residual, change, length, value=-1)
        size_before = size.clamp(min=_TINY)
    return x
