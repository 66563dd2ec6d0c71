"""The linear inverse: impulses repaired, the bias of clipping undone, and a Wiener filter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ssi_pipeline.inversion.linear.wiener import LinearFilter
from ssi_pipeline.inversion.sensor.clipping_bias import ClippingBias
from ssi_pipeline.inversion.sensor.impulses import ImpulseTest

if TYPE_CHECKING:
    pass


class LinearInverse:
    """The part of f that is not trained: impulse repair, the sensor's bias, then the calibrated Wiener filter."""

    def __init__(self, impulses: ImpulseTest, unbias: ClippingBias, wiener: LinearFilter) -> None:
        self.impulses = impulses
        self.unbias = unbias
        self.wiener = wiener

    def __call__(self, image: Tensor) -> Tensor:
        """Return 2 x (z) y x: the repaired, unbiased image r and its Wiener solution w, for a normalised image."""
        repaired = self.unbias(self.impulses.repair(image))
        return torch.stack([repaired, self.wiener(repaired)])
