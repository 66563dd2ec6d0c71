"""Select ranks of the 25 pixels of each 5 x 5 window, by networks of minima and maxima of whole images.

Windows overlap, and so does the work: each column of five pixels is sorted once, for the five windows that contain it,
and each pair of adjacent columns is merged once, for two. Merges are Batcher's (Knuth, The Art of Computer Programming
3, 5.3.4), without the comparisons that the ranks do not depend on: for the quartiles 156 minima and maxima, in place of
226 for 25 unsorted values.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SIDE = 5
"""Side of a window, pixels."""

_SORT = ((0, 1), (3, 4), (2, 4), (2, 3), (1, 4), (0, 3), (0, 2), (1, 3), (1, 2))
"""Comparisons that sort five values, the fewest possible (5.3.4, figure 51)."""


def window_ranks(image: Tensor, ranks: tuple[int, ...]) -> list[Tensor]:
    """Return the values of these ranks, 0 the least, in each window that lies inside an image.

    Parameters
    ----------
    image
        Any leading axes, then y x.
    ranks
        From 0 to 24.

    Returns
    -------
    values
        One image for each rank, smaller than the given one by 4 pixels along y and x.
    """
    height, width = (n - SIDE + 1 for n in image.shape[-2:])
    column = _column().of([image[..., dy : dy + height, :] for dy in range(SIDE)])
    pair = _pair().of([v[..., :-1] for v in column] + [v[..., 1:] for v in column])
    four = [v[..., :width] for v in pair] + [v[..., 2 : 2 + width] for v in pair]
    last = [v[..., SIDE - 1 :] for v in column]
    return _window(ranks).of(four + last)


@dataclass(frozen=True, slots=True)
class _Network:
    """Comparisons of lanes.

    Attributes
    ----------
    steps
        (i, j, is lane i used later, is lane j used later) in order: the smaller value goes to lane i.
    result
        The lanes of the result.
    """

    steps: tuple[tuple[int, int, bool, bool], ...]
    result: tuple[int, ...]

    @classmethod
    def pruned(cls, comparisons: Sequence[tuple[int, int]], result: tuple[int, ...]) -> _Network:
        """Return a network without the comparisons on which its result does not depend."""
        needed, kept = set(result), []
        for i, j in reversed(comparisons):
            if i in needed or j in needed:
                kept.append((i, j, i in needed, j in needed))
                needed |= {i, j}
        return cls(tuple(reversed(kept)), result)

    def of(self, lanes: Sequence[Tensor]) -> list[Tensor]:
        """Return the result for images in the lanes."""
        values = list(lanes)
        for i, j, smaller, larger in self.steps:
            a, b = values[i], values[j]
            if smaller:
                values[i] = torch.minimum(a, b)
            if larger:
                values[j] = torch.maximum(a, b)
        return [values[lane] for lane in self.result]


@functools.cache
def _column() -> _Network:
    """Return the network that sorts five lanes."""
    return _Network.pruned(_SORT, tuple(range(SIDE)))


@functools.cache
def _pair() -> _Network:
    """Return the network that merges two sorted columns."""
    comparisons, order = _odd_even(range(SIDE), range(SIDE, 2 * SIDE))
    return _Network.pruned(comparisons, tuple(order))


@functools.cache
def _window(ranks: tuple[int, ...]) -> _Network:
    """Return the network that selects ranks from two sorted pairs of columns and a sorted column."""
    pairs = 4 * SIDE
    four, order = _odd_even(range(2 * SIDE), range(2 * SIDE, pairs))
    five, order = _odd_even(order, range(pairs, pairs + SIDE))
    return _Network.pruned([*four, *five], tuple(order[rank] for rank in ranks))


def _odd_even(a: Sequence[int], b: Sequence[int]) -> tuple[list[tuple[int, int]], list[int]]:
    """Return the comparisons that merge two sorted lists of lanes, and the lanes in the order of the result."""
    if not a or not b:
        return [], [*a, *b]
    if len(a) == len(b) == 1:
        return [(a[0], b[0])], [a[0], b[0]]
    (first, odd), (second, even) = _odd_even(a[::2], b[::2]), _odd_even(a[1::2], b[1::2])
    pairs = list(zip(even, odd[1:], strict=False))
    rest = [*even[len(pairs) :], *odd[1 + len(pairs) :]]
    return [*first, *second, *pairs], [odd[0], *(lane for pair in pairs for lane in pair), *rest]
