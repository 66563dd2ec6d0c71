"""Correct an estimate of the network by what it leaves of the measurement.

Trained for some hundred steps, a network deviates from bright data by more than their noise, in what the PSF passes,
which the data know better; in what the PSF hides it is far nearer to the truth. So its estimate x0 is the prior of

    minimise |M (B (x - x0) - (r - mu(B x0)))|^2 + weight (|L (x - x0)|^2 + 0.02 |x - x0|^2)

with r the repaired image, mu what the sensor reports on average (at a limit where it clips: no more is asked of x
there), M the known pixels and L the Laplacian: hidden pixels have no part, and J-invariance is kept.
Frequencies that the PSF hides stay those of the network. The weight is chosen by the pixels of V; with dim data there
is no correction. Measured, as other priors: docs/experiments.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ssi_pipeline.inversion.linear.narrow import conjugate_gradients
from ssi_pipeline.inversion.linear.wiener import laplacian
from ssi_pipeline.inversion.network.training import SIGNIFICANT, deviations
from ssi_pipeline.physics.fft_size import fast_size
from ssi_pipeline.physics.forward import ForwardModel

WEIGHTS = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""Candidates, beside none."""

_FLAT = 0.02
"""Weight of the difference itself beside its Laplacian, without which what is flat would be free."""

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
    prior = weight * (torch.from_numpy(laplacian(size) ** 2).to(estimate.device) + _FLAT)
    smooth, inverse = prior.to(estimate.dtype), (1 / (forward.power_bound(size) + prior)).to(estimate.dtype)
    measured = forward.crop(known).to(estimate.dtype)

    def filtered(x: Tensor, response: Tensor) -> Tensor:
        """Apply a circular filter."""
        out: Tensor = torch.fft.irfftn(torch.fft.rfftn(x, s=size) * response, s=size)[inside]
        return out

    def normal(x: Tensor) -> Tensor:
        """Return the data term's and the prior's Hessian times x."""
        return forward.adjoint(measured * forward.level(x)) + filtered(x, smooth)

    left = forward.adjoint(measured * (forward.crop(image) - forward(estimate)))
    start = torch.zeros_like(estimate)
    return estimate + conjugate_gradients(normal, lambda x: filtered(x, inverse), left, start, _ITERATIONS)


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
