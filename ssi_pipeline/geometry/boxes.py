"""Axis-aligned boxes of integers."""

from __future__ import annotations

import math
from dataclasses import dataclass

Ints = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """The half-open box ``start <= position < stop``; spatial boxes have axes z y x."""

    start: Ints
    stop: Ints

    @property
    def shape(self) -> Ints:
        """Length along each axis; never negative."""
        return tuple(max(0, b - a) for a, b in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        """Number of positions inside."""
        return math.prod(self.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Index of this box in an array whose origin is at position 0."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))

    def shift(self, offset: Ints) -> Box:
        """Return the box moved by ``offset``."""
        return Box(
            tuple(a + o for a, o in zip(self.start, offset, strict=True)),
            tuple(b + o for b, o in zip(self.stop, offset, strict=True)),
        )

    def relative_to(self, origin: Ints) -> Box:
        """Return the same box with positions counted from ``origin``."""
        return self.shift(tuple(-o for o in origin))

    def grow(self, margin: Ints) -> Box:
        """Return the box enlarged by ``margin`` on both sides of each axis."""
        return Box(
            tuple(a - m for a, m in zip(self.start, margin, strict=True)),
            tuple(b + m for b, m in zip(self.stop, margin, strict=True)),
        )

    def intersect(self, other: Box) -> Box:
        """Return the intersection; its ``size`` is 0 if empty."""
        return Box(
            tuple(max(a, b) for a, b in zip(self.start, other.start, strict=True)),
            tuple(min(a, b) for a, b in zip(self.stop, other.stop, strict=True)),
        )

    def contains(self, other: Box) -> bool:
        """Tell whether every position of ``other`` is inside."""
        return all(a <= b for a, b in zip(self.start, other.start, strict=True)) and all(
            a >= b for a, b in zip(self.stop, other.stop, strict=True)
        )

    def align_out(self, step: Ints) -> Box:
        """Return the smallest enclosing box whose bounds are multiples of ``step``."""
        return Box(
            tuple(a // s * s for a, s in zip(self.start, step, strict=True)),
            tuple(-(-b // s) * s for b, s in zip(self.stop, step, strict=True)),
        )
