"""Read the input and its mask in tasks, and collect a digest of each box for the task's record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import CorruptDataError
from ssi_pipeline.geometry import Box
from ssi_pipeline.inversion.sensor.fill import REACH
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


def box_to_read(context: Context, domain: Box, fill: Mapping[str, Any] | None) -> Box:
    """Return the box that has to be read for a domain (z y x): with the surroundings that decide what is fill.

    ``fill``: as in the calibration of the channel; None as long as it is not known, where it is looked for.
    """
    looked_for = context.document.config.input.fill != "none" and fill is None
    reach = REACH if looked_for or (fill is not None and fill["value"] is not None) else 0
    return domain.grow((0, reach, reach)).intersect(context.plan.bounds)


def read_input(context: Context, t: int, c: int, box: Box) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Read a box (z y x, positions of the output, inside the image) of the input and of its mask.

    Returns the pixels (z y x, native dtype), and True where they are masked; None without a mask.

    Raises
    ------
    CorruptDataError
        The pixels cannot be read back.
    """
    digests, (t0, c0, *offset) = _noted.get(), context.origin
    try:
        raw = context.source.read(t + t0, c + c0, box.shift(tuple(offset)))
        masked = None if context.mask is None else context.mask.masked(t + t0, c + c0, box.shift(tuple(offset)))
    except CorruptDataError:
        if digests is not None:
            digests.append(UNREADABLE_READ)
        raise
    if digests is not None:
        digests.append(pixel_digest(raw, masked))
    return raw, masked


def source_of(context: Context, places: list[tuple[int, int, Box]]) -> str:
    """Return the digest of the current input that a task with these boxes (t, c, z y x) would record."""
    with noted_reads() as digests:
        for t, c, box in places:
            try:
                read_input(context, t, c, box)
            except CorruptDataError:  # recorded; affects the tiles that need the box
                continue
    return join_digests(digests)
