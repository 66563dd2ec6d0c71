"""Define the inverse f = w + c net([r - w, w, n - w ...], standardised), a function of one image and its neighbours.

r is the image with impulses repaired and the clipping bias corrected, w the Wiener solution of r. Both are computed
from the input of f, so that (g o f o m_J)(y) on J is independent of the pixels of J: J-invariance by construction. n is
r of a neighbouring plane or frame (``network.context``), whose noise is independent of that of y. The constants that
bring the inputs to zero mean and unit deviation, and c, the deviation of r - w, are parameters of f: they are set once,
before training, from the images without their held-out pixels V, and belong to the model.

Of inputs with a mean the features die before the head has learnt anything: noise in the mean is the steepest direction
of the loss (docs/experiments.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ssi_pipeline.config import NetworkConfig
from ssi_pipeline.inversion.network.architectures import build_network

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LEAST_SPREAD, _GREATEST_SPREAD = 1e-3, 0.5
"""Limits of the deviation of an input, normalised units: rounding errors of a constant channel stay small. Values in
the channel's range 0 ... 1 deviate by 0.5 at most: a single bead far above it does not flatten others."""


class Inverse(nn.Module):
    """The trained part of f: channels [r, w] and n of each neighbour, b x c x (z) y x, to estimates b x (z) y x.

    Attributes
    ----------
    mean, spread
        Mean and deviation of r - w, w and each n - w, part of its state: 0 and 1 until ``standardise``.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, config: NetworkConfig, axes: int, rng: torch.Generator) -> None:
        super().__init__()
        # channels last makes a training step 1.7 times as fast on a CPU, measured for 16 channels in 2D
        self._layout = torch.channels_last if axes == 2 else torch.channels_last_3d
        self.network = build_network(config, axes, rng)
        self.network.to(memory_format=self._layout)  # type: ignore[call-overload]  # missing in torch's stubs
        shape = (2 + len(config.neighbours), *(1,) * axes)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("spread", torch.ones(shape))

    @torch.no_grad()
    def standardise(self, images: Sequence[Tensor]) -> None:
        """Set the constants so that the inputs have zero mean and unit deviation over the channels of tiles."""
        flat = torch.cat([_inputs(image, 0).flatten(1) for image in images], dim=1).double()
        self.mean.copy_(flat.mean(1).reshape(self.mean.shape))
        self.spread.copy_(flat.std(1).clamp(_LEAST_SPREAD, _GREATEST_SPREAD).reshape(self.spread.shape))

    def forward(self, channels: Tensor) -> Tensor:
        """Estimate x from the channels."""
        inputs = (_inputs(channels, 1) - self.mean) / self.spread
        correction: Tensor = self.network(inputs.contiguous(memory_format=self._layout))[:, 0]
        return channels[:, 1] + self.spread[0] * correction


def _inputs(channels: Tensor, axis: int) -> Tensor:
    """Return [r - w, w, n - w ...] of [r, w, n ...]; ``axis``: of the channels."""
    r, w, *neighbours = channels.unbind(axis)
    return torch.stack([r - w, w, *(n - w for n in neighbours)], axis)


def compose(functions: Sequence[Callable[[Tensor], Tensor]], image: Tensor) -> Tensor:
    """Apply functions to an image in sequence."""
    for function in functions:
        image = function(image)
    return image
