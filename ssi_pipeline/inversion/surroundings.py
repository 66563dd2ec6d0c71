"""Fill the surroundings of an image: the part of a tile's domain that lies outside the image.

Light from there reaches the image, so that a domain exceeds the image by the PSF's radius. Nothing was measured there.
Values are needed where a filter reads them: they mirror the image, and have to be computed anew whenever the image
changes. Otherwise they would show the values of hidden pixels, or the noise of another measurement.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ssi_pipeline.inversion.differences import box_of, is_whole


def outside_of(gaps: Tensor) -> Tensor | None:
    """Return the mask of the surroundings, (z) y x; None without any. Synchronises the device.

    ``gaps``: True at pixels without a measurement; those within the image are not part of its surroundings.
    """
    box = box_of(~gaps)
    if is_whole(box, gaps.shape):
        return None
    outside = torch.ones_like(gaps)
    outside[box] = False
    return outside


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
    for axis, (inside, n) in enumerate(zip(box_of(~gaps), image.shape, strict=True)):
        if 0 < inside.stop - inside.start < n:
            place = np.pad(np.arange(inside.start, inside.stop), (inside.start, n - inside.stop), mode="reflect")
            image = image.index_select(axis, torch.from_numpy(place).to(image.device))
    return image
