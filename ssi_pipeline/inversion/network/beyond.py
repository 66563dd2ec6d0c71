"""Keep f outside an image, where nothing was measured, as it was before training.

The masked loss ties values there to the pixels beside the border only, and training used them to explain these:
measured on the published benchmark, cell (middle 256 pixels) lost 1.5 dB, nearly all of it at the border.
"""

from __future__ import annotations

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
    inside
        1 in the image, 0 outside, (b) (z) y x, float32.
    values
        f before training, same shape; what they are in the image does not matter.
    """

    inside: Tensor
    values: Tensor

    def around(self, estimate: Tensor) -> Tensor:
        """Return an estimate, (b) (z) y x, with these values outside the image."""
        return torch.lerp(self.values, estimate, self.inside)


def beyond(origin: Inverse | None, tile: TileTensors, inputs: Tensor) -> Beyond | None:
    """Return what f is outside the image of a tile; None where it is trained everywhere.

    Parameters
    ----------
    origin
        f before training; None where outside the image f is w, its linear solution: it is w before a training from
        random weights, and a model of other tiles, from which one may start, knows another border.
    inputs
        Input of f, c x (z) y x.
    """
    if tile.outside is None:
        return None
    return Beyond((~tile.outside).float(), inputs[1] if origin is None else apply(origin, inputs))
