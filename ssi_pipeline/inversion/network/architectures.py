"""Build the network of the inverse f: a small UNet with standardised weights, in 2D and 3D.

Each kernel of its blocks has zero mean and a fixed norm (weight standardisation, Qiao et al. 2019): what is common to
all features of a layer, which noise in the gradients drives most, does not pass, and no layer shrinks. Normalisation of
the features instead would see other statistics where pixels are hidden than at inference.
"""

from __future__ import annotations

import functools
import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssi_pipeline.config import NetworkConfig

_SLOPE = 0.1
"""Negative slope of the leaky ReLU, which avoids dead units."""

_INPUTS = 2
"""Input channels of the tile itself: from the repaired image and its Wiener solution; one more for each neighbour."""

_GAIN = 2 / (1 + _SLOPE**2)
"""Squared norm of a kernel that keeps the mean square of the features (He et al. 2015, eq. 15)."""

_TINY = 1e-8

_CONV: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}


class _StandardConv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        """Convolve with standardised kernels."""
        found: Tensor = self._conv_forward(x, _standardised(self.weight), self.bias)
        return found


class _StandardConv3d(nn.Conv3d):
    def forward(self, x: Tensor) -> Tensor:
        """Convolve with standardised kernels."""
        found: Tensor = self._conv_forward(x, _standardised(self.weight), self.bias)
        return found


_STANDARD: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: _StandardConv2d, 3: _StandardConv3d}


class UNet(nn.Module):
    """UNet with two 3-convolutions per block, mean pooling and nearest upsampling by 2.

    Maps b x inputs x (z) y x to b x 1 x (z) y x; sizes must be multiples of 2^(levels - 1).

    Parameters
    ----------
    axes
        Number of spatial axes, 2 or 3.
    inputs
        Input channels.
    width
        Channels at the first level; doubled at each further level.
    levels
        Number of resolutions.
    """

    def __init__(self, axes: int, inputs: int, width: int, levels: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.down = nn.ModuleList(
            _block(axes, before, after) for before, after in zip([inputs, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            _block(axes, below + here, here) for below, here in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = _CONV[axes](width, 1, 1)
        self._pool = functional.avg_pool2d if axes == 2 else functional.avg_pool3d

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network."""
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(self._pool(x, 2) if level else x)  # b, width * 2^level, (z) y x / 2^level
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            first, *others = cast(nn.Sequential, block)
            x = _joined(cast("nn.Conv2d | nn.Conv3d", first), x, skip)
            for layer in others:
                x = layer(x)
        result: Tensor = self.head(x)
        return result


def build_network(config: NetworkConfig, axes: int, rng: torch.Generator) -> UNet:
    """Build an untrained network for ``axes`` spatial axes; its head is zero: f is the Wiener solution."""
    with torch.random.fork_rng(devices=[]):  # layers initialise from the global generator
        network = UNet(axes, _INPUTS + len(config.neighbours), config.features(axes), config.levels)
    _initialise(network, rng)
    nn.init.zeros_(network.head.weight)
    return network


def _initialise(network: nn.Module, rng: torch.Generator) -> None:
    """Initialise parameters by He et al. 2015, eq. 15, from an explicit generator; biases are zero."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.zero_()
            else:
                parameter.normal_(0, math.sqrt(_GAIN / math.prod(parameter.shape[1:])), generator=rng)


def _standardised(weight: Tensor) -> Tensor:
    return standardised_in_steps(weight) if weight.device.type == "cpu" else standardised_at_once(weight)


def standardised_in_steps(weight: Tensor) -> Tensor:
    """Return kernels (out, in, (z) y x) of zero mean, and of the norm that keeps the mean square of the features."""
    inner = list(range(1, weight.ndim))
    centred = weight - weight.mean(inner, keepdim=True)
    return centred * torch.rsqrt(centred.square().sum(inner, keepdim=True) / _GAIN + _TINY)


def standardised_at_once(weight: Tensor) -> Tensor:
    """Return the same up to rounding, as a layer normalisation: one launch in place of 8, backward one of 16.

    On a GPU most of a training step is launches. The memory format, channels last, is kept.
    """
    last = weight.movedim(1, -1)
    rows = last.reshape(weight.shape[0], -1)
    n = rows.shape[1]
    standard = functional.layer_norm(rows, (n,), _norms(n, weight.device), eps=_TINY * _GAIN / n)
    return standard.reshape(last.shape).movedim(-1, 1)


@functools.lru_cache(maxsize=64)
def _norms(n: int, device: torch.device) -> Tensor:
    """Return the deviation of kernels of n values, n times, on a device."""
    return torch.full((n,), math.sqrt(_GAIN / n), device=device)


def _joined(convolution: nn.Conv2d | nn.Conv3d, below: Tensor, skip: Tensor) -> Tensor:
    return (joined_by_parts if below.device.type == "cpu" else joined_at_once)(convolution, below, skip)


def joined_at_once(convolution: nn.Conv2d | nn.Conv3d, below: Tensor, skip: Tensor) -> Tensor:
    """Convolve features of the level below, upsampled to the nearest, and those of this level, side by side."""
    found: Tensor = convolution(torch.cat([functional.interpolate(below, scale_factor=2, mode="nearest"), skip], dim=1))
    return found


def joined_by_parts(convolution: nn.Conv2d | nn.Conv3d, below: Tensor, skip: Tensor) -> Tensor:
    """Return the same up to rounding, in two thirds of the time of a training step; it takes more launches on a GPU.

    Of what is upsampled it is a transposed convolution with kernels of 4, which sum what meets the same value: 4 / 9 of
    the products in 2D, 8 / 27 in 3D, and neither the upsampled features nor both side by side are stored.
    """
    kernels, known = _standardised(convolution.weight), below.shape[1]
    two = kernels.ndim == 4
    upsampled = (functional.conv_transpose2d if two else functional.conv_transpose3d)(
        below, _of_upsampled(kernels[:, :known]), stride=2, padding=1
    )
    beside = (functional.conv2d if two else functional.conv3d)(skip, kernels[:, known:], convolution.bias, padding=1)
    return upsampled + beside


def _of_upsampled(kernels: Tensor) -> Tensor:
    """Return kernels of 4, in x out x (z) y x, that do before upsampling what those of 3, out x in x ..., do after."""
    out, known, *size = kernels.shape
    sums = _sums(len(size), kernels.device)
    return (kernels.reshape(out * known, -1) @ sums).reshape(out, known, *(4 for _ in size)).transpose(0, 1)


@functools.lru_cache(maxsize=8)
def _sums(axes: int, device: torch.device) -> Tensor:
    """Return the matrix 3^axes x 4^axes that turns a kernel of 3 into one of 4, each line a kernel in C order."""
    one = torch.tensor([[0.0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])
    return functools.reduce(torch.kron, [one] * axes).T.contiguous().to(device)


def _block(axes: int, before: int, after: int) -> nn.Sequential:
    conv = _STANDARD[axes]
    return nn.Sequential(
        conv(before, after, 3, padding=1),
        nn.LeakyReLU(_SLOPE, inplace=True),
        conv(after, after, 3, padding=1),
        nn.LeakyReLU(_SLOPE, inplace=True),
    )
