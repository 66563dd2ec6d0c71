"""Fill the surroundings of an image: the part of a tile's domain that lies outside the image.

Light from there reaches the image, so that a domain exceeds the image by the PSF's radius. Nothing was measured there.
Values are needed where a filter reads them: they mirror the image, and have to be computed anew whenever the image
changes. Otherwise they would show the values of hidden pixels, or the noise of another measurement.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def mirror_outside(image: Tensor, gaps: Tensor | None) -> Tensor:
    """Return an image (z) y x whose surroundings mirror the image, repeatedly where they are wider than it.

    Parameters
    ----------
    image
        Axes (z) y x.
    gaps
        True at pixels without a measurement, shape of ``image``; the image is the smallest box that contains all
        others. None without any.
    """
    if gaps is None:
        return image
    for axis, n in enumerate(image.shape):
        (inside,) = torch.nonzero((~gaps).sum([a for a in range(image.ndim) if a != axis]), as_tuple=True)
        if not len(inside):
            return image
        first, last = int(inside[0]), int(inside[-1])
        if last - first + 1 < n:
            place = np.pad(np.arange(first, last + 1), (first, n - 1 - last), mode="reflect")
            image = image.index_select(axis, torch.from_numpy(place).to(image.device))
    return image
