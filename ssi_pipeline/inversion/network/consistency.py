"""Correct an estimate of the network by what it leaves of the measurement.

Trained for some hundred steps, a network deviates from bright data by more than their noise, in what the PSF passes,
which the data know better; in what the PSF hides it is far nearer to the truth. So its estimate x0 is the prior of

    minimise |M (B (x - x0) - (r - mu(B x0)))|^2 + weight (|L (x - x0)|^2 + 0.02 |x - x0|^2)

with r the repaired image, mu what the sensor reports on average (a pixel at a limit of the sensor asks for no more than
the limit), M the known pixels and L the Laplacian: hidden pixels have no part, and J-invariance is kept. Frequencies
that the PSF hides stay those of the network. V chooses the weight, or no correction, as for dim data. Measured, as
other priors: docs/experiments.md.
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
"""Iterations towards the minimum: few, which the choice of the weight allows for."""


class Correction:
    """The correction of estimates of one shape.

    Parameters
    ----------
    forward
        Optics B and sensor mu.
    like
        An image (z) y x, on the device.
    """

    def __init__(self, forward: ForwardModel, like: Tensor) -> None:
        self._forward, self._size = forward, fast_size(tuple(like.shape), forward.radius)
        self._inside = tuple(slice(0, n) for n in like.shape)
        self._power = forward.power_bound(self._size).to(like.dtype)
        self._prior = torch.from_numpy(laplacian(self._size) ** 2 + _FLAT).to(like)

    def __call__(self, estimate: Tensor, image: Tensor, known: Tensor, weight: float) -> Tensor:
        """Return the corrected estimate (z) y x, normalised; itself where the weight is infinite.

        Parameters
        ----------
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
        forward, measured = self._forward, self._forward.crop(known)
        prior, inverse = weight * self._prior, 1 / (self._power + weight * self._prior)

        def normal(x: Tensor) -> Tensor:
            """Return the Hessian of both terms times x."""
            return forward.adjoint(measured * forward.level(x)) + self._filtered(x, prior)

        residual = torch.where(measured, forward.crop(image) - forward(estimate), 0.0)
        start = torch.zeros_like(estimate)
        found = conjugate_gradients(
            normal, lambda x: self._filtered(x, inverse), forward.adjoint(residual), start, _ITERATIONS
        )
        return estimate + found

    def _filtered(self, x: Tensor, response: Tensor) -> Tensor:
        filtered: Tensor = torch.fft.irfftn(torch.fft.rfftn(x, s=self._size) * response, s=self._size)[self._inside]
        return filtered


def chosen_weight(errors_with: Callable[[float], Tensor]) -> tuple[float, Tensor]:
    """Return the largest weight that predicts V as well as the best one, and its errors.

    It is infinite unless the best is better than no correction for certain.

    Parameters
    ----------
    errors_with
        Squared errors on V by weight, flat.
    """
    without = errors_with(math.inf)
    found = {weight: errors for weight in WEIGHTS if math.isfinite(float((errors := errors_with(weight)).mean()))}
    best = min(found.values(), key=lambda errors: float(errors.mean()), default=without)
    if not deviations(without - best) > SIGNIFICANT:
        return math.inf, without
    return next((weight, errors) for weight, errors in found.items() if deviations(errors - best) <= 1)
