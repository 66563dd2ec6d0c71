"""Compose the linear inverse: impulse repair, correction of the clipping bias, and a Wiener filter."""

from __future__ import annotations

import torch
from torch import Tensor

from ssi_pipeline.inversion.linear.solution import LinearSolution
from ssi_pipeline.inversion.sensor.clipping_bias import ClippingBias
from ssi_pipeline.inversion.sensor.impulses import ImpulseTest


class LinearInverse:
    """The untrained part of f: impulse repair, correction of the clipping bias, then the calibrated Wiener filter."""

    def __init__(self, impulses: ImpulseTest, clipping_bias: ClippingBias, wiener: LinearSolution) -> None:
        self.impulses = impulses
        self.clipping_bias = clipping_bias
        self.wiener = wiener

    def repaired(self, image: Tensor) -> Tensor:
        """Return r, (z) y x, of a normalised image: impulses repaired, bias of clipping corrected."""
        return self.clipping_bias(self.impulses.repair(image))

    def __call__(self, image: Tensor, gaps: Tensor | None = None) -> Tensor:
        """Return [r, w], 2 x (z) y x, of a normalised image: the repaired, corrected image and its Wiener solution.

        ``gaps``: pixels without a measurement, None without any.
        """
        repaired = self.repaired(image)
        return torch.stack([repaired, self.wiener(repaired, None if gaps is None else ~gaps)])
