"""Compose the linear inverse: impulse repair, correction of the clipping bias, and a Wiener filter."""

from __future__ import annotations

import torch
from torch import Tensor

from ssi_pipeline.inversion.linear.solution import LinearSolution
from ssi_pipeline.inversion.sensor.clipping_bias import ClippingBias
from ssi_pipeline.inversion.sensor.impulses import ImpulseTest


class LinearInverse:
    """The untrained part of f: impulse repair, correction of the clipping bias, then the calibrated Wiener filter.

    Parameters
    ----------
    impulses, clipping_bias, wiener
        The three parts.
    border
        Estimate the light outside the image, which the filter takes to mirror it.
    """

    def __init__(
        self, impulses: ImpulseTest, clipping_bias: ClippingBias, wiener: LinearSolution, border: bool = False
    ) -> None:
        self.impulses = impulses
        self.clipping_bias = clipping_bias
        self.wiener = wiener
        self.border = border

    def repaired(self, image: Tensor) -> Tensor:
        """Return r, (z) y x, of a normalised image: impulses repaired, bias of clipping corrected."""
        return self.clipping_bias(self.impulses.repair(image))

    def __call__(self, image: Tensor, gaps: Tensor | None = None) -> Tensor:
        """Return [r, w], 2 x (z) y x, of a normalised image: the repaired, corrected image and its Wiener solution.

        ``gaps``: pixels without a measurement, None without any.
        """
        return self.of_repaired(self.impulses.repair(image), gaps)

    def of_repaired(self, repaired: Tensor, gaps: Tensor | None = None) -> Tensor:
        """Return the same of an image whose impulses are repaired."""
        repaired = self.clipping_bias(repaired)
        if gaps is None:
            return torch.stack([repaired, self.wiener(repaired)])
        solved = self.wiener(repaired, ~gaps, self.border)
        if self.border:  # where nothing was measured, r - w has nothing to say
            repaired = torch.where(gaps, solved, repaired)
        return torch.stack([repaired, solved])
