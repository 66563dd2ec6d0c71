"""Compute the training loss: the masked data loss, and penalties on the estimate and the parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from ssi_pipeline.config import RunConfig
from ssi_pipeline.inversion.channel import ChannelCalibration

_MIDDLE = 0.5
"""Normalised intensity at which the noise scales the total variation."""

KNEE = 0.2
"""Knee of the variation in standard deviations of the noise: edges above it are kept, smaller steps smoothed. Chosen on
five images: docs/experiments.md."""

_BOUNDS_WEIGHT = 0.1
"""Weight of the squared distance beyond the bounds, as in Kobayashi et al. (2020)."""


class Objective:
    """The training loss of one batch, in squared normalised units."""

    def __init__(self, config: RunConfig, calibration: ChannelCalibration) -> None:
        self._training = config.training
        self.low, self._high = normalised_bounds(config, calibration)
        # proportional to the noise variance, as in a maximum a posteriori estimate
        self._variation = config.recipe.total_variation * calibration.noise.variance(_MIDDLE)
        self._knee = KNEE * math.sqrt(calibration.noise.variance(_MIDDLE))

    def data(self, predicted: Tensor, measured: Tensor, hidden: Tensor) -> Tensor:
        """Return the mean squared error over the pixels of J, where ``hidden`` is 1; without any 0, with gradient 0."""
        return ((predicted - measured) ** 2 * hidden).sum() / hidden.sum().clamp(min=1)

    def _cost(self, step: Tensor) -> Tensor:
        """Return the cost of a step between neighbours: linear below the knee, logarithmic above.

        A concave cost for sparse gradients (Geman and Reynolds 1992): flat regions are smoothed as by total
        variation, edges keep their height.
        """
        if self._knee == 0:
            return step
        return self._knee * torch.log1p(step / self._knee)

    def penalty(self, estimate: Tensor, parameters: Iterable[Tensor]) -> Tensor:
        """Return the penalty: soft bounds and variation of the estimate, b x (z) y x, and norms of the parameters."""
        total = estimate.new_zeros(())
        if math.isfinite(self.low):
            total = total + _BOUNDS_WEIGHT * (self.low - estimate).clamp(min=0).square().mean()
        if math.isfinite(self._high):
            total = total + _BOUNDS_WEIGHT * (estimate - self._high).clamp(min=0).square().mean()
        if self._variation:
            axes = range(1, estimate.ndim)
            total = total + self._variation * sum(self._cost(estimate.diff(dim=a).abs()).mean() for a in axes)
        return self.with_norms(total, parameters)

    @property
    def weighs_parameters(self) -> bool:
        """Whether there are penalties on the norms of the parameters."""
        return bool(self._training.weight_l1 or self._training.weight_l2)

    def with_norms(self, total: Tensor, parameters: Iterable[Tensor]) -> Tensor:
        """Return a penalty plus those on the norms of the parameters, if configured."""
        training = self._training
        if self.weighs_parameters:
            for p in parameters:
                total = total + training.weight_l1 * p.abs().sum() + training.weight_l2 * p.square().sum()
        return total

    def data_with_slope(self, predicted: Tensor, measured: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same as ``data``, and its gradient with respect to the prediction, without autograd."""
        error, count = (predicted - measured) * hidden, hidden.sum().clamp(min=1)
        share = error / count
        return torch.dot(error.reshape(-1), share.reshape(-1)), 2 * share

    def penalty_slope(self, estimate: Tensor) -> Tensor:
        """Return the gradient of the penalty on an estimate, b x (z) y x, without autograd."""
        beyond = estimate - estimate.clamp(self.low, self._high)
        slope = beyond * (2 * _BOUNDS_WEIGHT / beyond.numel())
        for axis in range(1, estimate.ndim) if self._variation else ():
            # the cost knee log(1 + |step| / knee) has the slope sgn(step) knee / (knee + |step|)
            step, n = estimate.diff(dim=axis), estimate.shape[axis]
            sign, height, share = step.sgn(), step.abs().add_(self._knee), self._knee * self._variation / step.numel()
            slope.narrow(axis, 1, n - 1).addcdiv_(sign, height, value=share)
            slope.narrow(axis, 0, n - 1).addcdiv_(sign, height, value=-share)
        return slope


def normalised_bounds(config: RunConfig, calibration: ChannelCalibration) -> tuple[float, float]:
    """Return the bounds of the estimate in normalised units, infinite where there is none; the upper one is soft.

    'auto' is the channel's floor: the configured dark level of the sensor, or a bound that is never above it.
    """
    lower, upper = config.training.bounds.lower, config.training.bounds.upper
    if lower == "auto":
        lower = calibration.floor
    low = -math.inf if lower is None else calibration.normalise(lower)
    high = math.inf if upper is None else calibration.normalise(upper)
    return low, high
