"""Define the inverse f = net([r, w]) + w, a function of one image.

r is the image with impulses repaired and the clipping bias corrected, w the Wiener solution of r. Both are computed
from the input of f, so that (g o f o m_J)(y) on J is independent of the pixels of J: J-invariance by construction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ssi_pipeline.config import NetworkConfig
from ssi_pipeline.inversion.network.architectures import build_network

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_GAIN = 0.5
"""Output of a standardised network in deviations of w."""

_LEAST_DEVIATION = 1e-6


class Inverse(nn.Module):
    """The trained part of f: channels [r, w], b x 2 x (z) y x, to estimates b x (z) y x."""

    def __init__(self, config: NetworkConfig, axes: int, rng: torch.Generator) -> None:
        super().__init__()
        # channels last makes a training step 1.7 times as fast on a CPU, measured for 16 channels in 2D
        self._layout = torch.channels_last if axes == 2 else torch.channels_last_3d
        self.network = build_network(config, axes, rng)
        self.network.to(memory_format=self._layout)  # type: ignore[call-overload]  # missing in torch's stubs
        self.mix: Tensor
        self.shift: Tensor
        self.gain: Tensor
        self.register_buffer("mix", torch.eye(2))
        self.register_buffer("shift", torch.zeros(2))
        self.register_buffer("gain", torch.ones(()))

    def standardise(self, tiles: Sequence[Tensor]) -> None:
        """Give the network [r - w, w] with zero mean and unit deviation over the channels [r, w] of some tiles.

        Its output is a share of the deviation of w. The constants are kept with the parameters: a tile is not
        standardised by itself, or a shared network would not be one function of the image.
        """
        seen = torch.cat([tile.flatten(1) for tile in tiles], dim=1).double()  # 2 x pixels
        mixed = torch.stack([seen[0] - seen[1], seen[1]])
        deviation = mixed.std(1).clamp(min=_LEAST_DEVIATION)
        self.mix.copy_(torch.tensor([[1.0, -1.0], [0.0, 1.0]]) / deviation[:, None])
        self.shift.copy_(-mixed.mean(1) / deviation)
        self.gain.copy_(_GAIN * deviation[1])

    def forward(self, channels: Tensor) -> Tensor:
        """Estimate x from the channels [r, w]."""
        ones = (1,) * (channels.ndim - 2)
        # elementwise: autocast would round r and w before their difference
        inputs = (self.mix.reshape(2, 2, *ones) * channels[:, None]).sum(2) + self.shift.reshape(2, *ones)
        correction: Tensor = self.network(inputs.contiguous(memory_format=self._layout))[:, 0]
        return channels[:, 1] + self.gain * correction


def compose(functions: Sequence[Callable[[Tensor], Tensor]], image: Tensor) -> Tensor:
    """Apply functions to an image in sequence."""
    for function in functions:
        image = function(image)
    return image
