"""Precision of large integers: computation is in float32, sums are in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import CorruptDataError
from ssi_pipeline.storage.inputs.identity import regions
from ssi_pipeline.storage.inputs.source_protocol import Source

_FLOAT32 = 2**24
"""Integers above are not all exact in float32."""


def describe_digits(source: Source) -> tuple[str, ...]:
    """Return a note if sampled integers exceed 2^24 and lose digits in float32.

    Raises
    ------
    InputError
        Some exceed 2^53, where float64 loses digits too.
    """
    volume = source.volume
    dtype = np.dtype(volume.dtype)
    if dtype.kind not in "iu" or dtype.itemsize < 4:
        return ()
    largest = 0
    for t, c, box in regions(volume.shape):
        try:
            values = source.read(t, c, box)
        except CorruptDataError:  # affects a tile, not the run
            continue
        largest = max(largest, _magnitude(values))
    if largest <= _FLOAT32:
        return ()
    return (
        f"pixels are {volume.dtype} with values of up to {largest}: computation is in float32, where integers "
        "beyond 16777216 (2^24) are rounded to 7 digits",
    )


def _magnitude(values: NDArray[Any]) -> int:
    return max(abs(int(values.min())), abs(int(values.max()))) if values.size else 0
