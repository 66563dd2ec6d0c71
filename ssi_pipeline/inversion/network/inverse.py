"""The inverse f = net([r, w]) + w, a function of one image alone.

r is the image with its impulses repaired and the bias of a clipping sensor undone, w the Wiener
solution of r. Both are computed from the image that f is given, so (g o f o m_J)(y) on J depends on no
pixel of J: J-invariance by construction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ssi_pipeline.config import NetworkConfig
from ssi_pipeline.inversion.network.architectures import build_network

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Inverse(nn.Module):
    """The trained part of f, from b x 2 x (z) y x channels [r, w] to b x (z) y x estimates."""

    def __init__(self, config: NetworkConfig, axes: int, rng: torch.Generator) -> None:
        super().__init__()
        # channels last: 1.7 times the speed of a training step on a CPU, measured for 16 channels in 2D
        self._layout = torch.channels_last if axes == 2 else torch.channels_last_3d
        self.network = build_network(config, axes, rng)
        self.network.to(memory_format=self._layout)  # type: ignore[call-overload]  # missing in torch's stubs

    def forward(self, channels: Tensor) -> Tensor:
        """Estimate x from the prepared channels."""
        correction: Tensor = self.network(channels.contiguous(memory_format=self._layout))[:, 0]
        return channels[:, 1] + correction


def compose(functions: Sequence[Callable[[Tensor], Tensor]], image: Tensor) -> Tensor:
    """Apply functions one after the other."""
    for function in functions:
        image = function(image)
    return image
