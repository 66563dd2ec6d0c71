"""Load the parameters that a network starts from: trained on simulated scenes, by ``benchmarks/train_start.py``.

No image was used for them, but geometric primitives, PSFs and noise at random. Nothing depends on the measurement, so
that J-invariance holds at every step of the training that follows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssi_pipeline.inversion.network.architectures import UNet

_FILE = Path(__file__).with_name("simulated_2d.npz")
_FIRST = "down.0.0.weight"


@torch.no_grad()
def load_start(network: UNet) -> None:
    """Set the parameters of a 2D network of the default width and levels to those trained on simulated scenes.

    Neighbouring planes and frames, which it may see in addition, have no effect until the network is trained: their
    kernels are the mean of the others, which the standardisation takes away.
    """
    with np.load(_FILE) as file:
        found = {name: torch.from_numpy(file[name].astype(np.float32)) for name in file.files}
    found[_FIRST] = _for_inputs(found[_FIRST], network.get_parameter(_FIRST).shape[1])
    network.load_state_dict(found)


def _for_inputs(kernels: Tensor, inputs: int) -> Tensor:
    """Return kernels (out, in, y, x) with further inputs that do not count."""
    out, known, *size = kernels.shape
    mean = kernels.mean((1, 2, 3), keepdim=True)
    return torch.cat([kernels, mean.expand(out, inputs - known, *size)], dim=1)
