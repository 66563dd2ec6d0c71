"""Mark fill: areas of a constant that was never measured, as around deskewed, rotated or stitched images.

The decision on a pixel depends on the pixels within ``REACH`` of it (in the plane y x), on the value and on the image's
border: not on the tile it is read in, so that neighbouring tiles agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy  # loads ndimage at its first use: a client without work does not need it
from numpy.typing import NDArray

_SIDE = 9
"""Side of a square of one value that is fill wherever it lies. Of noise clipped with a probability of 0.84 (a level one
standard deviation below the limit), 81 of 81 pixels are clipped with a probability of 1e-6."""

_RUN = 17
"""Length of a run along the image's border that is fill, of any depth: registered images have borders of a pixel or
more. Of noise half of which is clipped, 17 of 17 pixels are clipped with a probability of 1e-5."""

_NARROWING = 12
"""Steps by which fill grows within squares of 3 x 3: a wedge of 27 degrees or more narrows from 9 to 3 pixels."""

_TIP = 2
"""Steps by which it grows within single pixels: corners that a square of 3 x 3 does not enter."""

MOST_RIM = 2
"""Most pixels next to fill that interpolation mixes with it: 1 for linear, 2 for cubic interpolation."""

REACH = _RUN - 1 + _NARROWING + _TIP + MOST_RIM
"""Pixels along y and x on which the decision on a pixel depends."""

_NEXT = np.ones((1, 3, 3), bool)

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fill:
    """The fill of a channel.

    Attributes
    ----------
    value
        Its value, raw units; None: there is none.
    rim
        Pixels next to it that are mixtures of fill and signal, and as little observed.
    share
        Share of the sampled pixels; of the areas that were not taken for fill where ``value`` is None.
    doubt
        Why areas of a constant value are not taken for fill, with that value; empty otherwise.
    """

    value: float | None = None
    rim: int = 0
    share: float = 0.0
    doubt: str = ""


def fill_of(y: NDArray[np.float32], value: float, rim: int, unseen: Mask, border: tuple[bool, ...]) -> Mask:
    """Return True at fill and its rim.

    Parameters
    ----------
    y
        Raw pixels, axes z y x; away from the image's border right only ``REACH`` inside the array.
    value, rim
        As in ``Fill``.
    unseen
        True at pixels that are unobserved for another reason: they do not interrupt an area.
    border
        Whether the array starts and ends at the image's border: first y, last y, first x, last x.
    """
    at: Mask = np.asarray(y == np.float32(value))
    if not at.any():
        return at
    if at.all() and min(y.shape[1:]) >= _SIDE:  # most tiles of sparse volumes
        return np.asarray(at)
    either = at | unseen
    seeds = _opened(either, _SIDE, "constant") | _along_border(either, border)
    solid = _opened(either, 3, "nearest") | seeds
    grown = seeds
    for steps, within in ((_NARROWING, solid), (_TIP, either | seeds)):
        grown = scipy.ndimage.binary_dilation(grown, _NEXT, steps, mask=within)
    fill = grown & at
    return np.asarray(scipy.ndimage.binary_dilation(fill, _NEXT, rim)) if rim and fill.any() else fill


def _opened(at: Mask, side: int, mode: Literal["constant", "nearest"]) -> Mask:
    """Return the union of all squares of a side (in the plane y x) inside a mask."""
    small = scipy.ndimage.minimum_filter(at.view(np.uint8), (1, side, side), mode=mode)
    return np.asarray(scipy.ndimage.maximum_filter(small, (1, side, side), mode=mode)).view(bool)


def _along_border(at: Mask, border: tuple[bool, ...]) -> Mask:
    """Return runs along the image's border that are as long as ``_RUN`` at each depth up to ``_SIDE``."""
    found = np.zeros_like(at)
    for (axis, from_end), is_border in zip(((1, False), (1, True), (2, False), (2, True)), border, strict=True):
        if not is_border:
            continue
        depth = min(_SIDE, at.shape[axis])
        strip = [slice(None)] * 3
        strip[axis] = slice(-1, -depth - 1, -1) if from_end else slice(0, depth)
        solid = np.logical_and.accumulate(at[tuple(strip)], axis=axis).view(np.uint8)
        small = scipy.ndimage.minimum_filter1d(solid, _RUN, 3 - axis, mode="constant")
        found[tuple(strip)] |= scipy.ndimage.maximum_filter1d(small, _RUN, 3 - axis, mode="constant").view(bool)
    return found
