"""Take one iterate of an infinite sequence."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def nth_iterate(iterates: Iterator[T], count: int) -> T:
    """Return the iterate after ``count`` iterations, counted from 1."""
    return next(islice(iterates, count - 1, None))
