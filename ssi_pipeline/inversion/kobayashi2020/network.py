"""Implement the UNet of the published method (Kobayashi et al., arXiv 2006.06156, and its code)."""

from __future__ import annotations

from threading import Lock

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssi_pipeline.methods import PUBLISHED_POOLINGS

_WIDTH = 8

_SEEDING = Lock()
"""Layers initialise from the global generator, which threads share."""


class PublishedUNet(nn.Module):
    """The published UNet: 8 channels, four max poolings, nearest upsampling, batch normalisation throughout.

    Maps b x 1 x (z) y x to b x 1 x (z) y x, for sizes of ``PUBLISHED_LEAST_SIDE`` or more. Batch normalisation makes
    training and inference different functions: batch statistics of masked images in training, their running mean in
    validation and on the unmasked image at the end.
    """

    def __init__(self, axes: int, rng: torch.Generator) -> None:
        super().__init__()
        widths = [
            _WIDTH * 2 ** min(level, PUBLISHED_POOLINGS - 1) for level in range(PUBLISHED_POOLINGS + 1)
        ]  # 8 16 32 64 64: the deepest level has the width of the one above
        with _SEEDING, torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=rng)))
            self.down = nn.ModuleList(
                _block(axes, before, after, after) for before, after in zip([1, *widths[:-1]], widths, strict=True)
            )
            self.up = nn.ModuleList()
            below = widths[-1]
            for level in reversed(range(PUBLISHED_POOLINGS)):
                here = widths[max(level - 1, 0)]
                joined = below + widths[level]
                self.up.append(_block(axes, joined, joined // 2, here))
                below = here
            self.head = (nn.Conv2d if axes == 2 else nn.Conv3d)(_WIDTH, 1, 1)
        self._pool = functional.max_pool2d if axes == 2 else functional.max_pool3d

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network."""
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(self._pool(x, 2) if level else x)
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            above = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = block(torch.cat([skip, _fit(above, skip.shape[2:])], dim=1))
        result: Tensor = self.head(x)
        return result


def _fit(image: Tensor, shape: torch.Size) -> Tensor:
    """Pad an image with zeros at both ends to ``shape``, which pooling rounded down."""
    lacking = [n - have for n, have in zip(shape, image.shape[2:], strict=True)]
    if not any(lacking):
        return image
    return functional.pad(image, [n for gap in reversed(lacking) for n in (gap // 2, gap - gap // 2)])


def _block(axes: int, before: int, middle: int, after: int) -> nn.Sequential:
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if axes == 2 else (nn.Conv3d, nn.BatchNorm3d)
    return nn.Sequential(
        conv(before, middle, 5, padding=2),
        norm(middle),
        nn.ReLU(inplace=True),
        conv(middle, after, 3, padding=1),
        norm(after),
        nn.ReLU(inplace=True),
    )
