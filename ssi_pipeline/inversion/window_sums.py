"""Sum an image over all boxes of a size."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

_SMALL = 27
"""Pixels of a box up to which a GPU sums it at once; larger ones along one axis after the other."""


def window_sums(image: Tensor, sides: Sequence[int]) -> Tensor:
    """Return the sums over all boxes that lie inside an image.

    Parameters
    ----------
    image
        Any leading axes, then two or three of the boxes.
    sides
        Sides of a box along the last axes, pixels, at most those of the image.

    Returns
    -------
    sums
        n - side + 1 pixels along each axis.
    """
    return (sums_by_addition if image.device.type == "cpu" else sums_by_pooling)(image, sides)


def sums_by_pooling(image: Tensor, sides: Sequence[int]) -> Tensor:
    """Return the sums by pooling layers, which are one launch on a GPU but visit the whole box for each pixel."""
    axes = len(sides)
    pool = functional.avg_pool2d if axes == 2 else functional.avg_pool3d
    stack = image.reshape(-1, 1, *image.shape[-axes:])
    along = [tuple(side if a == axis else 1 for a in range(axes)) for axis, side in enumerate(sides)]
    for window in [tuple(sides)] if math.prod(sides) <= _SMALL else along:
        stack = pool(stack, window, stride=1, divisor_override=1)
    return stack.reshape(*image.shape[:-axes], *stack.shape[-axes:])


def sums_by_addition(image: Tensor, sides: Sequence[int]) -> Tensor:
    """Return the sums by shifted additions: for a box of 5 x 5 a fifth of the time of a pooling layer on a CPU."""
    for axis, side in zip(range(-len(sides), 0), sides, strict=True):
        image = _along(image, axis, side)
    return image


def _along(image: Tensor, axis: int, side: int) -> Tensor:
    """Return the sums of ``side`` neighbours along one axis, from sums of 1, 2, 4, ... of them."""
    count, done, width = image.shape[axis] - side + 1, 0, 1
    total: Tensor | None = None
    while True:
        if side & width:
            part = image.narrow(axis, done, count)
            total, done = part if total is None else total + part, done + width
        if total is not None and done == side:
            return total
        kept = image.shape[axis] - width
        image, width = image.narrow(axis, 0, kept) + image.narrow(axis, width, kept), 2 * width
