"""Take the estimate after some iterations from an endless run of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def after(iterates: Iterator[T], count: int) -> T:
    """Return the ``count``-th item, counted from 1."""
    return next(islice(iterates, count - 1, None))
