"""Bound a Wiener solution, or any estimate, from below, in the metric of the Wiener filter's quadratic problem.

The Wiener filter minimises |B x - y|^2 + w |L x|^2, whose value at x is that at its minimum v plus |x - v|_A^2, with
A = B*B + w L*L. The minimum over x >= floor is therefore the projection of v in the norm of A: it is found from v
alone, is v itself where v has no light below the floor, and changes only what the bound reaches. A is circular on a
grid that the image does not fill: the light outside it does not change. Of a network's estimate it is the feasible
estimate whose measurement is nearest.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from ssi_pipeline.inversion.bounded import BoundedDirections, dot
from ssi_pipeline.inversion.linear.wiener import laplacian
from ssi_pipeline.physics.forward import ForwardModel

_MOST_STEPS, _BLOCK, _ENOUGH = 20, 10, 1e-2
"""Most steps; they end where a block lowers |x - v|_A^2 by a smaller share. With beads 200 and 4000 times as bright as
the noise, 2000 steps change the flux of the bead by 1e-4, and the rest of the image by 0.5 dB at most."""

_TINY = 1e-30


def project(forward: ForwardModel, estimate: Tensor, weight: float, floor: float) -> Tensor:
    """Return the projection of an estimate onto x >= floor; for a Wiener solution, the constrained minimum.

    Parameters
    ----------
    forward
        Optics B.
    estimate
        (Z) y x, normalised.
    weight
        Weight w of its Laplacian prior.
    floor
        Lower bound, normalised; minus infinity without one.
    """
    if not bool((estimate < floor).any()):
        return estimate
    metric = _metric(forward, weight, estimate)
    x = estimate.clamp(min=floor)
    gradient, directions, last = metric(x - estimate), BoundedDirections(floor), math.inf
    for count in range(_MOST_STEPS):
        if count % _BLOCK == 0:
            value = float(dot(x - estimate, gradient))
            if value > last * (1 - _ENOUGH):
                break
            last = value
        change = directions.after(x, gradient)
        image = metric(change)
        step = _length(gradient, change, image)
        kept = directions.projected(x, gradient, change, step)
        if kept is not None:
            change, image = kept, metric(kept)
            step = _length(gradient, change, image).clamp(max=1)
        x = (x + step * change).clamp(min=floor)  # rounding errors only
        gradient = gradient + step * image
    return x


def _metric(forward: ForwardModel, weight: float, like: Tensor) -> Callable[[Tensor], Tensor]:
    """Return A as a function of images of one shape."""
    size = tuple(int(next_fast_len(n + r, real=True)) for n, r in zip(like.shape, forward.radius, strict=True))
    curvature = torch.from_numpy(laplacian(size)).to(like.device)
    response = (forward.power_bound(size) + weight * curvature**2).float()
    window = tuple(slice(0, n) for n in like.shape)
    return lambda image: torch.fft.irfftn(torch.fft.rfftn(image, s=size) * response, s=size)[window]


def _length(gradient: Tensor, change: Tensor, image: Tensor) -> Tensor:
    """Return the step to the minimum along a change, ``image`` its product with A."""
    return -dot(gradient, change) / dot(change, image).clamp(min=_TINY)
