"""Check that a PSF can be meant: that it has a peak, blurs, and is narrower than the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.geometry.volume import SPATIAL
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.physics.widths import fwhm, profile_through_peak

_EVEN = 0.02
"""Relative difference of the values of a box that is the same everywhere, up to noise."""

_LEAST_BOX = 5
"""Smallest side of an implausible box: binning and motion blur are boxes of a few pixels, or lines."""

_WIDEST = 0.5
"""Largest full width at half maximum as a share of the image: beyond it two points cannot be resolved in it."""


def widths(psf: Psf) -> tuple[float, float, float]:
    """Return the full width at half maximum along z y x, pixels."""
    z, y, x = (fwhm(profile_through_peak(psf.values, axis)) for axis in range(3))
    return z, y, x


def refuse_box(values: NDArray[np.floating], where: str) -> None:
    """Refuse a PSF that is the same everywhere: an image of nothing, or a mask.

    Raises
    ------
    InputError
        All values are equal within 2 %, over at least 5 pixels along two axes.
    """
    wide = sum(n >= _LEAST_BOX for n in values.shape)
    if wide >= 2 and values.min() >= (1 - _EVEN) * values.max():
        sizes = " x ".join(map(str, values.shape))
        raise InputError(
            f"{where} is a uniform box of {sizes} pixels: expected a spot that falls to 0 at the border. Check the file"
        )


def refuse_implausible(psf: Psf, where: str, image_shape: Ints | None) -> None:
    """Refuse a PSF of a single pixel, or one as wide as the image.

    Parameters
    ----------
    psf
        As used, cropped by ``energy``.
    where
        Name for the message.
    image_shape
        z y x, None if unknown.

    Raises
    ------
    InputError
        Says what was expected.
    """
    if psf.values.size == 1:
        raise InputError(
            f"{where} is a single pixel: nothing is deconvolved. Expected a PSF that blurs (check its unit and "
            "psf.energy); to denoise only, set psf.kind: identity"
        )
    for axis, width, size in list(zip(SPATIAL, widths(psf), image_shape or (), strict=False))[1:]:
        if width > _WIDEST * size:
            raise InputError(
                f"{where} has a full width at half maximum of {width:.1f} pixels along {axis}, the image has {size}: "
                "expected less than half of the image. Check the PSF, its unit and input.voxel_size_um"
            )
