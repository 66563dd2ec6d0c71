"""Correct an estimate of the network by what it leaves of the measurement.

Trained for some hundred steps, a network deviates from bright data by more than their noise, in what the PSF passes,
which the data know better; in what the PSF hides it is far nearer to the truth. So its estimate x0 is the prior of

    minimise |M (B x - r)|^2 + weight |x - x0|^2

with r the repaired image, and M its known pixels: hidden ones have no part, and J-invariance is kept. Frequencies that
the PSF hides stay those of the network. The weight is chosen by the pixels of V; with dim data there is no correction.
Measured: docs/experiments.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ssi_pipeline.inversion.linear.narrow import conjugate_gradients
from ssi_pipeline.inversion.network.training import SIGNIFICANT, deviations
from ssi_pipeline.physics.fft_size import fast_size
from ssi_pipeline.physics.forward import ForwardModel

WEIGHTS = (1.0, 0.3, 0.1, 0.03, 0.01)
"""Candidates, beside none: variance of the noise over that of the network's error, both white."""

_ITERATIONS = 5


def corrected(forward: ForwardModel, estimate: Tensor, image: Tensor, known: Tensor, weight: float) -> Tensor:
    """Return the corrected estimate (z) y x, normalised; itself where the weight is infinite.

    Parameters
    ----------
    forward
        Optics B.
    estimate
        x0, (z) y x, normalised.
    image
        r, of the same shape.
    known
        False at pixels whose value is not measured: hidden, unobserved, or an impulse.
    weight
        Of the estimate, relative to the data.
    """
    if math.isinf(weight):
        return estimate
    size, inside = fast_size(tuple(estimate.shape), forward.radius), tuple(slice(0, n) for n in estimate.shape)
    response = (1 / (forward.power_bound(size) + weight)).to(estimate.dtype)
    measured = forward.crop(known).to(estimate.dtype)

    def normal(x: Tensor) -> Tensor:
        """Return (B* M B + weight) x."""
        return torch.add(forward.adjoint(measured * forward.level(x)), x, alpha=weight)

    def precondition(x: Tensor) -> Tensor:
        """Apply its circular approximation's inverse."""
        out: Tensor = torch.fft.irfftn(torch.fft.rfftn(x, s=size) * response, s=size)[inside]
        return out

    left = measured * (forward.crop(image) - forward.level(estimate))
    start = torch.zeros_like(estimate)
    return estimate + conjugate_gradients(normal, precondition, forward.adjoint(left), start, _ITERATIONS)


def chosen_weight(errors_with: Callable[[float], Tensor]) -> float:
    """Return the largest weight that predicts V as well as the best one; infinite unless that is better for certain.

    Parameters
    ----------
    errors_with
        Squared errors on V by weight, flat.
    """
    without = errors_with(math.inf)
    found = {weight: errors_with(weight) for weight in WEIGHTS}
    best = min(found.values(), key=lambda errors: float(errors.mean()))
    if deviations(without - best) <= SIGNIFICANT:
        return math.inf
    return next(weight for weight, errors in found.items() if deviations(errors - best) <= 1)
