"""Evaluate f where the memory of the device is too small for all of a tile at once: in pieces that overlap.

The features of a whole tile take more memory than a training step on patches does (in 3D ten times as much), so that a
smaller batch does not help. f depends on its receptive field only: pieces that overlap by it, cut at multiples of the
network's stride, give what the whole gives, up to the rounding of other convolution algorithms.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssi_pipeline.geometry.halo import network_radius, network_stride
from ssi_pipeline.inversion.device_memory import free_device_memory, is_out_of_memory
from ssi_pipeline.inversion.network.inverse import Inverse


def evaluate(inverse: Inverse, images: Tensor) -> Tensor:
    """Evaluate f on images b x c x (z) y x, at once if the memory suffices, else in halves, and these likewise.

    Returns estimates b x (z) y x.

    Raises
    ------
    RuntimeError
        The memory is too small for a piece of a few receptive fields as well.
    """
    try:
        found: Tensor = inverse(images)
        return found
    except RuntimeError as problem:
        if not is_out_of_memory(problem) or not _divisible(inverse, images):
            raise
    free_device_memory()
    if len(images) > 1:
        return torch.cat([evaluate(inverse, half) for half in images.chunk(2)])
    axis, size = _longest(images)
    middle, overlap = _middle(inverse, size), _overlap(inverse)
    first = evaluate(inverse, images.narrow(axis, 0, middle + overlap)).narrow(axis - 1, 0, middle)
    start = middle - overlap
    second = evaluate(inverse, images.narrow(axis, start, size - start)).narrow(axis - 1, overlap, size - middle)
    return torch.cat([first, second], axis - 1)


def _divisible(inverse: Inverse, images: Tensor) -> bool:
    """Return whether halves are clearly smaller, by a quarter at least."""
    return len(images) > 1 or _longest(images)[1] >= 4 * _overlap(inverse)


def _longest(images: Tensor) -> tuple[int, int]:
    """Return the longest spatial axis and its size."""
    return max(enumerate(images.shape[2:], 2), key=lambda found: found[1])


def _levels(inverse: Inverse) -> int:
    return len(inverse.network.down)


def _overlap(inverse: Inverse) -> int:
    """Return the radius of f in the features, in multiples of the stride."""
    stride = network_stride(_levels(inverse))
    return -(-network_radius(_levels(inverse)) // stride) * stride


def _middle(inverse: Inverse, size: int) -> int:
    stride = network_stride(_levels(inverse))
    return size // (2 * stride) * stride
