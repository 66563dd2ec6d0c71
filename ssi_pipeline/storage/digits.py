"""Integers so large that they lose digits: the computation is in float32, sums are in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import CorruptDataError, InputError
from ssi_pipeline.storage.identity import regions
from ssi_pipeline.storage.source import Source

_FLOAT32, _FLOAT64 = 2**24, 2**53
"""From here on not every integer has a float of its own."""


def refuse_too_large(values: NDArray[Any], where: str) -> None:
    """Refuse 64-bit integers beyond 2^53, whose differences no float can hold.

    Raises
    ------
    InputError
        There are some; names the largest.
    """
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8:
        largest = _magnitude(values)
        if largest > _FLOAT64:
            raise InputError(
                f"{where} has integers of up to {largest}: beyond 2^53 (9e15) they lose digits in any float. Such "
                "numbers are labels, time stamps or bit fields more often than intensities; else subtract an offset"
            )


def describe_digits(source: Source) -> tuple[str, ...]:
    """Return a note where sampled integers are beyond 2^24, and lose digits in float32.

    Raises
    ------
    InputError
        Some are beyond 2^53.
    """
    volume = source.volume
    dtype = np.dtype(volume.dtype)
    if dtype.kind not in "iu" or dtype.itemsize < 4:
        return ()
    largest = 0
    for t, c, box in regions(volume.shape):
        try:
            values = source.read(t, c, box)
        except CorruptDataError:  # concerns a tile and not the run
            continue
        refuse_too_large(values, "input")
        largest = max(largest, _magnitude(values))
    if largest <= _FLOAT32:
        return ()
    return (
        f"pixels are {volume.dtype} with values of up to {largest}: the computation is in float32, in which integers "
        "beyond 16777216 (2^24) are rounded to 7 digits",
    )


def _magnitude(values: NDArray[Any]) -> int:
    return max(abs(int(values.min())), abs(int(values.max()))) if values.size else 0
