"""Find the fill of a channel: a constant that covers areas, and that the signal around them does not fade into.

A constant covers areas for other reasons too: a background that clips, photon counts that are mostly zero, an image
whose background was subtracted. There the value is as frequent next to the areas as inside, or the signal approaches it
gradually. Next to fill the image is as it is a few pixels further on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy  # loads ndimage at its first use: a client without work does not need it
from numpy.typing import NDArray

from ssi_pipeline.inversion.sensor.fill import MOST_RIM, Fill, Mask, fill_of

_CANDIDATES = 3
"""Most values tested, those that cover most."""

_SIDE, _RUN = 9, 17
"""Squares, and runs along the image's border, of one value that make it a candidate: as in ``fill``."""

_RINGS = 8
"""Distances from the areas, in pixels, at which pixels are compared."""

_NEAR, _FAR = (2, 3), (6, 7, 8)
"""Distances compared: 1 may be a mixture of fill and signal; light of a structure fades over about the PSF's width."""

_MOST_OF_VALUE = 0.5
"""Share of the value in the near rings above which it is the signal's own. Areas of clipped noise or of few photons
(own scenes): 0.45 to 0.9. Of fill beside a background half of which clips: the same, but there it does little harm."""

_FADES = 0.5
"""Ratio of the deviations one or two pixels off to the far ones below which the signal fades into the value: 0.15 to
0.45 for subtracted and cut images and for photon counts, 0.6 to 1.6 for fill, interpolated or not (own scenes)."""

_RARE = 0.25
"""Share of the value in the near rings below which the first pixel is looked at too: where the signal has the value
often, pixels right beside an area are selected by having another one."""

_SMALL = 0.2
"""Share of areas below which the value must be rare in the rest of the image too, not only around them."""

_RAGGED = 2.0
"""Ratio of the pixels at distance 1 to those at distance 3 above which single pixels lie in the areas: 1 for straight
edges, 1.5 to 2 beside noise of which 40 % has the value, 2.7 and more for photon counts (own scenes)."""

_MIXED = 0.85
"""Ratio of the deviations in a ring to those further on below which it is a mixture: 0.5 to 0.7 with linear
interpolation, 0.9 to 1.1 without (own scenes)."""

_FEWEST = 64
"""Fewest pixels of a ring for a comparison: their median is then known to 15 % of the spread."""


@dataclass(frozen=True, slots=True)
class Part:
    """One box of the channel: raw pixels z y x, pixels unobserved for other reasons, and borders as in ``fill_of``."""

    y: NDArray[np.float32]
    unseen: Mask
    border: tuple[bool, ...]


def find_fill(parts: Sequence[Part], wanted: float | Literal["auto", "none"]) -> Fill:
    """Return the fill of a channel.

    Parameters
    ----------
    parts
        Samples of the channel, some of them at the image's border.
    wanted
        A value, 'none', or 'auto': the value is found. The highest value of the samples, which a sensor may reach in
        bright places, is not taken for fill by 'auto'.
    """
    if wanted == "none":
        return Fill()
    if wanted != "auto":
        found = _Surroundings.of(parts, float(wanted))
        return Fill(float(wanted), found.rim, found.share)
    doubt = Fill()
    for value in _candidates(parts):
        found = _Surroundings.of(parts, value)
        reason = found.why_not()
        if not reason:
            return Fill(value, found.rim, found.share)
        if found.share > doubt.share:
            doubt = Fill(None, 0, found.share, f"areas of the value {value:g} are not taken for fill: {reason}")
    return doubt


def _candidates(parts: Sequence[Part]) -> list[float]:
    """Return values that cover areas, the most frequent first, without the highest of the samples."""
    counts: dict[float, int] = {}
    highest = -math.inf
    for part in parts:
        known = part.y[~part.unseen]
        highest = max(highest, float(known.max())) if known.size else highest
        values, found = np.unique(_constant(part), return_counts=True)
        for value, count in zip(values.tolist(), found.tolist(), strict=True):
            counts[value] = counts.get(value, 0) + count
    counts.pop(highest, None)
    return sorted(counts, key=lambda value: -counts[value])[:_CANDIDATES]


def _constant(part: Part) -> NDArray[np.float32]:
    """Return the values in the middle of squares, and of runs along the border, of one value."""
    y = np.where(part.unseen, np.nan, part.y)
    same = (y[..., 1:] == y[..., :-1]).view(np.uint8)
    runs = scipy.ndimage.minimum_filter1d(same, _SIDE - 1, axis=2, mode="constant").any(axis=(1, 2))
    planes = y[runs]  # a quick look first: most planes have none
    lowest, highest = (
        f(planes, (1, _SIDE, _SIDE), mode="nearest")
        for f in (scipy.ndimage.minimum_filter, scipy.ndimage.maximum_filter)
    )
    found = [planes[lowest == highest]]
    for (axis, edge), is_border in zip(((1, 0), (1, -1), (2, 0), (2, -1)), part.border, strict=True):
        if is_border:
            line = y.take(edge, axis)
            ends = (
                f(line, _RUN, 1, mode="reflect")
                for f in (scipy.ndimage.minimum_filter1d, scipy.ndimage.maximum_filter1d)
            )
            found.append(line[np.equal(*ends)])
    values = np.concatenate(found)
    return np.asarray(values[np.isfinite(values)])


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """Areas of a value: their share of all pixels, the share of the value in the others, and the deviations from it at
    each distance from 1 on.
    """

    share: float
    elsewhere: float
    rings: tuple[NDArray[np.float32], ...]

    @staticmethod
    def of(parts: Sequence[Part], value: float) -> _Surroundings:
        """Measure the areas of a value in the samples."""
        area = equal = total = 0
        rings: list[list[NDArray[np.float32]]] = [[] for _ in range(_RINGS)]
        for part in parts:
            inside = fill_of(part.y, value, 0, part.unseen, part.border)
            area, total = area + int(inside.sum()), total + int(part.y.size - part.unseen.sum())
            equal += int(np.count_nonzero(part.y == np.float32(value)))
            seen = inside | part.unseen
            for ring in rings if inside.any() else ():
                wider = scipy.ndimage.binary_dilation(inside, np.ones((1, 3, 3), bool))
                ring.append(np.abs(part.y[wider & ~seen] - np.float32(value)))
                inside, seen = wider, seen | wider
        none = np.zeros(0, np.float32)
        elsewhere = (equal - area) / max(total - area, 1)
        return _Surroundings(area / max(total, 1), elsewhere, tuple(np.concatenate([none, *ring]) for ring in rings))

    def _at(self, distances: Sequence[int]) -> NDArray[np.float32]:
        return np.concatenate([self.rings[d - 1] for d in distances])

    @property
    def rim(self) -> int:
        """Number of rings that are mixtures of fill and signal."""
        beyond = self._at((4, 5, 6))
        for d in range(1, MOST_RIM + 1):
            if min(self.rings[d - 1].size, beyond.size) < _FEWEST:
                return d - 1
            if not np.median(self.rings[d - 1]) < _MIXED * np.median(beyond):
                return d - 1
        return MOST_RIM

    def why_not(self) -> str:
        """Return why the areas are no fill, or an empty text."""
        if not self.share:
            return "they are small"
        near, far = self._at(_NEAR), self._at(_FAR)
        if self.rings[0].size > _RAGGED * self.rings[2].size:
            return "single pixels of other values lie in them"
        own = float(np.mean(near == 0)) if near.size else 0.0
        if max(own, self.elsewhere if self.share < _SMALL else 0.0) > _MOST_OF_VALUE:
            return "the same value is as frequent around them"
        softest = 0 if own < _RARE else 1
        if far.size >= _FEWEST and any(_high(ring) < _FADES * _high(far) for ring in self.rings[softest:2]):
            return "the signal fades into them"
        return ""


def _high(deviations: NDArray[np.float32]) -> float:
    """Return a typical large deviation: where the signal itself has the value, the median may be 0."""
    return float(np.quantile(deviations, 0.75)) if deviations.size else math.inf
