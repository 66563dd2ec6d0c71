"""Read the input in tasks, and collect a digest of each box for the task's record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from numpy.typing import NDArray

from ssi_pipeline.errors import CorruptDataError
from ssi_pipeline.geometry import Box
from ssi_pipeline.storage.state.made_from import UNREADABLE_READ, join_digests, pixel_digest
from ssi_pipeline.tasks.context import Context

# per thread: on an external cluster several tasks may share a process
_noted: ContextVar[list[str] | None] = ContextVar("noted reads", default=None)


@contextmanager
def noted_reads() -> Iterator[list[str]]:
    """Collect the digests of all boxes of the input read by the body, in order."""
    digests: list[str] = []
    token = _noted.set(digests)
    try:
        yield digests
    finally:
        _noted.reset(token)


def read_input(context: Context, t: int, c: int, box: Box) -> NDArray[Any]:
    """Read a box (z y x, positions of the output, inside the image) of the input; axes z y x, native dtype.

    Raises
    ------
    CorruptDataError
        The pixels cannot be read back.
    """
    digests, offset = _noted.get(), context.origin
    try:
        raw = context.source.read(t + offset[0], c + offset[1], box.shift(offset[2:]))
    except CorruptDataError:
        if digests is not None:
            digests.append(UNREADABLE_READ)
        raise
    if digests is not None:
        digests.append(pixel_digest(raw))
    return raw


def source_of(context: Context, places: list[tuple[int, int, Box]]) -> str:
    """Return the digest of the current input that a task with these boxes (t, c, z y x) would record."""
    with noted_reads() as digests:
        for t, c, box in places:
            try:
                read_input(context, t, c, box)
            except CorruptDataError:  # recorded; affects the tiles that need the box
                continue
    return join_digests(digests)
