"""Solve the linear problem beside the border of an image, where a Wiener filter guesses the light from outside.

The filter needs values outside the image, which mirror it. Where the scene ends or changes there, its solution is wrong
within a PSF of the border. From it, some iterations lead towards

    minimise |M (B x - y)|^2 + weight |L x|^2

with M the measured pixels, the light outside as unknown as that inside, and no penalty across the border: L is that of
the image inside, and of the surroundings with a weight of their own. Measured on the published benchmark's middle 256 x
256 pixels, whose surroundings are dark: camera 21.1 -> 22.0 dB, cell 32.8 -> 35.3, membrane 22.6 -> 22.8.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ssi_pipeline.inversion.differences import across, box_of, differences, differences_adjoint, is_whole
from ssi_pipeline.inversion.linear.narrow import conjugate_gradients
from ssi_pipeline.inversion.linear.wiener import laplacian
from ssi_pipeline.physics.fft_size import fast_size
from ssi_pipeline.physics.forward import ForwardModel

_ITERATIONS, _OF_SHARP = 4, 16
"""Iterations, and those with a prior of a smaller weight than the surroundings': 30 change the result by 0.1 dB
(camera, cell, membrane, characters), but with a weight of 0.01 four are still worse than none."""

_OUTSIDE = 0.1
"""Largest weight of the prior on the surroundings, of which the image tells little: with 1, iterations take twice as
many."""

_TINY = 1e-30


def beside_border(forward: ForwardModel, image: Tensor, known: Tensor, weight: float, start: Tensor) -> Tensor:
    """Return the linear solution (z) y x, normalised, improved beside the border of the image.

    Parameters
    ----------
    forward
        Optics B.
    image
        (Z) y x, normalised; values at pixels that are not ``known`` are ignored.
    known
        False at pixels without a measurement; the image is the smallest box that contains all others.
    weight
        Weight of the Laplacian prior.
    start
        Solution of the Wiener filter.
    """
    shape, box = tuple(image.shape), box_of(known)
    if is_whole(box, shape):
        return start
    measured, ends = forward.crop(known).to(image.dtype), across(box, shape)
    beyond = min(_OUTSIDE, weight)
    weights = torch.full_like(image, beyond)
    weights[box] = weight

    def roughness(x: Tensor) -> Tensor:
        """Return L x, without differences across the border."""
        slopes = differences(x)
        for end in ends:
            slopes[end].zero_()
        return differences_adjoint(slopes)

    def normal(x: Tensor) -> Tensor:
        """Return (B* M B + L* weights L) x."""
        return forward.adjoint(measured * forward.level(x)) + roughness(weights * roughness(x))

    inside = _inverse(forward, weight, image[box])
    outside = _inverse(forward, beyond, image)

    def precondition(x: Tensor) -> Tensor:
        """Apply an approximate inverse of ``normal`` to the image and to the surroundings, each on its own."""
        surroundings = x.clone()
        surroundings[box] = 0
        out = outside(surroundings)
        out[box] = inside(x[box])
        return out

    right = forward.adjoint(measured * forward.crop(image))
    return conjugate_gradients(normal, precondition, right, start, _OF_SHARP if weight < _OUTSIDE else _ITERATIONS)


def _inverse(forward: ForwardModel, weight: float, like: Tensor) -> Callable[[Tensor], Tensor]:
    """Return (P + weight L*L)^-1 as a circular filter of images of one shape, P the bound of B*B."""
    size = fast_size(tuple(like.shape), forward.radius)
    prior = weight * torch.from_numpy(laplacian(size) ** 2).to(like.device)
    response = (1 / (forward.power_bound(size) + prior + _TINY)).to(like.dtype)
    window = tuple(slice(0, n) for n in like.shape)
    return lambda image: torch.fft.irfftn(torch.fft.rfftn(image, s=size) * response, s=size)[window]
