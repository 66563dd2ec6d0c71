"""The size of a PSF that is computed, looked at before it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ssi_pipeline.errors import InputError

_MOST_ALONG = 9001
"""Pixels along an axis: more than any tile has (``_WIDEST_SIGMA`` of a Gaussian)."""


def refuse_many_voxels(name: str, shape: Sequence[int], most: int = 2**27) -> None:
    """Refuse a PSF (z y x) larger than can be computed; ``name``: the option that makes it so.

    Raises
    ------
    InputError
        It has more than ``most`` voxels, by default a gigabyte of them.
    """
    if math.prod(shape) > most or max(shape) > _MOST_ALONG:
        sizes = " x ".join(f"{n:g}" for n in shape)
        raise InputError(
            f"{name} makes a PSF of {sizes} voxels (z y x): expected at most {most}, and {_MOST_ALONG} along an axis. "
            "Check its unit and input.voxel_size_um"
        )
