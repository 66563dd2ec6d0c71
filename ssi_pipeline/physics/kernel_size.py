"""Limit the size of a PSF before it is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ssi_pipeline.errors import InputError

_MOST_ALONG = 9001
"""Largest size along an axis in pixels: more than any tile has (``_WIDEST_SIGMA`` of a Gaussian)."""


def refuse_many_voxels(name: str, shape: Sequence[int], most: int = 2**27) -> None:
    """Refuse a PSF that is too large to compute.

    Parameters
    ----------
    name
        Option that sets the size, for the message.
    shape
        Size (z y x) in voxels.
    most
        Largest number of voxels; 2**27 float64 values are 1 GiB.

    Raises
    ------
    InputError
        The PSF exceeds ``most`` voxels, or 9001 along an axis.
    """
    if math.prod(shape) > most or max(shape) > _MOST_ALONG:
        sizes = " x ".join(f"{n:g}" for n in shape)
        raise InputError(
            f"{name} makes a PSF of {sizes} voxels (z y x): expected at most {most}, and {_MOST_ALONG} along an axis. "
            "Check its unit and input.voxel_size_um"
        )
