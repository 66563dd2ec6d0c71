"""Keep f outside an image, where nothing was measured, as it was before training.

The masked loss ties values there to the pixels beside the border only, and training used them to explain these:
measured on the published benchmark, cell (middle 256 pixels) lost 1.5 dB, nearly all of it at the border.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssi_pipeline.inversion.network.inverse import Inverse
from ssi_pipeline.inversion.problem import apply
from ssi_pipeline.inversion.tile import TileTensors


@dataclass(frozen=True, slots=True)
class Beyond:
    """The values of f outside an image.

    Attributes
    ----------
    outside
        True outside the image, (b) (z) y x.
    values
        f before training, same shape.
    """

    outside: Tensor
    values: Tensor

    def around(self, estimate: Tensor) -> Tensor:
        """Return an estimate, (b) (z) y x, with these values outside the image."""
        return torch.where(self.outside, self.values, estimate)

    def batch(self, windows: Sequence[tuple[slice, ...]]) -> Beyond:
        """Return those of a batch of windows."""
        return Beyond(*(torch.stack([part[w] for w in windows]) for part in (self.outside, self.values)))


def beyond(origin: Inverse | None, tile: TileTensors, inputs: Tensor) -> Beyond | None:
    """Return what f is outside the image of a tile; None where it is trained everywhere.

    Parameters
    ----------
    origin
        f before training; needed for a tile with an outside.
    inputs
        Input of f, c x (z) y x.
    """
    if tile.outside is None or origin is None:
        return None
    return Beyond(tile.outside, apply(origin, inputs))
