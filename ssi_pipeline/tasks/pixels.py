"""Read a box of the input, and tell its observed pixels from fill, masked and non-finite ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry import Box
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.sensor.fill import Fill, fill_of
from ssi_pipeline.tasks.context import Context
from ssi_pipeline.tasks.reading import box_to_read, read_input

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pixels:
    """Pixels of a box (z y x) inside the image.

    Attributes
    ----------
    box
        Positions in the output.
    raw
        Values of the input, float32.
    nonfinite
        True at NaN and infinite pixels.
    unmeasured
        True at fill and masked pixels, which are written back as they are.
    border
        Whether the box starts and ends at the image's border: first y, last y, first x, last x.
    """

    box: Box
    raw: NDArray[np.float32]
    nonfinite: Bools
    unmeasured: Bools
    border: tuple[bool, ...]

    @property
    def unseen(self) -> Bools:
        """True at pixels that carry no information."""
        return self.nonfinite | self.unmeasured

    def without(self, fill: Fill) -> Pixels:
        """Return the pixels with fill marked as unmeasured."""
        if fill.value is None:
            return self
        found = fill_of(self.raw, fill.value, fill.rim, self.unseen, self.border)
        return Pixels(self.box, self.raw, self.nonfinite, self.unmeasured | found, self.border)

    def on(self, box: Box) -> Pixels:
        """Return the pixels of a box that this one contains; ``border`` is not kept up."""
        cut = box.relative_to(self.box.start).slices
        return Pixels(box, self.raw[cut], self.nonfinite[cut], self.unmeasured[cut], self.border)

    def measurement(self, domain: Box) -> Measurement:
        """Return the measurement on a domain (z y x): unseen pixels interpolated, padded by reflection."""
        unseen = self.unseen
        y = fill_unseen(self.raw, ~unseen) if unseen.any() else self.raw
        pairs = zip(domain.start, self.box.start, self.box.stop, domain.stop, strict=True)
        width = [(i - d, e - s) for d, i, s, e in pairs]
        return Measurement(np.pad(y, width, mode="reflect"), np.pad(~unseen, width, constant_values=False))


def read_pixels(
    context: Context,
    t: int,
    c: int,
    domain: Box,
    for_statistics: bool = False,
    fill: Mapping[str, Any] | None = None,
) -> Pixels:
    """Read the part of a domain (z y x, in the output) that is in the image.

    ``fill``: of the channel, if not that of the calibration.

    Raises
    ------
    InputError
        There are NaN or infinite pixels and ``input.nonfinite`` is ``fail``; not with ``for_statistics``, as samples
        ignore them and must not stop tiles that have none. Or values exceed the range of float32.
    """
    found = context.fill(c) if fill is None else fill
    around = read_box(context, t, c, box_to_read(context, domain, found), for_statistics)
    return around.without(Fill(**found)).on(domain.intersect(context.plan.bounds))


def read_box(context: Context, t: int, c: int, box: Box, for_statistics: bool = False) -> Pixels:
    """Read a box inside the image, without telling what is fill; see ``read_pixels``."""
    raw, masked = read_input(context, t, c, box)
    with np.errstate(over="ignore"):
        y = raw.astype(np.float32)
    nonfinite = ~np.isfinite(y)
    outside = np.zeros(y.shape, bool) if masked is None else masked
    if not for_statistics:
        _refuse_bad(context, raw, nonfinite & ~outside)
    bounds = context.plan.bounds
    ends = ((box.start, bounds.start), (box.stop, bounds.stop))
    border = tuple(own[axis] == image[axis] for axis in (1, 2) for own, image in ends)
    return Pixels(box, y, nonfinite, outside, border)


def _refuse_bad(context: Context, raw: NDArray[np.generic], bad: Bools) -> None:
    """Refuse values beyond float32 and, if configured, NaN and infinite ones."""
    if not bad.any():
        return
    too_large = int((np.isfinite(raw) & bad).sum())
    if too_large:
        raise InputError(f"{too_large} pixels exceed the range of float32 (3e38): rescale the input")
    if context.document.config.input.nonfinite == "fail":
        count = int(bad.sum())
        raise InputError(f"{count} pixels are NaN or infinite; set input.nonfinite: mask to fill them from neighbours")


def fill_unseen(y: NDArray[np.float32], seen: Bools) -> NDArray[np.float32]:
    """Return an image (z y x) with unseen pixels replaced by local means; 0 if none is seen.

    Copies of the nearest pixel would share its noise, which would look like signal.
    """
    import torch

    from ssi_pipeline.inversion.masking import fill_gaps  # torch is needed for inputs with gaps only

    planes = [fill_gaps(torch.from_numpy(np.where(s, p, 0)), torch.from_numpy(s)) for p, s in zip(y, seen, strict=True)]
    return np.stack([plane.numpy() for plane in planes]).astype(np.float32)
