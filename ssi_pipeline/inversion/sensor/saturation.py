"""Find the limits at which the sensor clips, and areas filled with a constant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.physics.sensor import CensoredSensor

_SPIKE = 4.0
"""Least frequency of a limit, relative to the levels next to it."""

_CLIPPED_SHARE = 1e-4
"""Least share of pixels at a limit: with fewer the bias of clipping is negligible."""

_CLIPPED_PIXELS = 20
"""Fewest pixels at a limit: fewer may have equal values by chance."""

_LEAST_LEVELS = 3
"""Fewest levels within one standard deviation of a limit: counts of few photons have one or two."""

_NEARER_HALF = 0.2
"""Least share of the pixels within one standard deviation that is in the nearer half: 0.21 for a level 3 s inside."""

_FILL_SIDE, _FILL_MARGIN = 9, 4
"""Pixels. All of 81 pixels are clipped with a probability of 1e-6 where 84 % are (a level 1 s below the limit)."""


def without_fill(samples: Sequence[Measurement]) -> list[Measurement]:
    """Mark areas filled with the lowest value as not observed: masks and padding, as opposed to clipped noise.

    An area is a square of 9 x 9 pixels (in the plane y x) of the lowest value, with the pixels of that value within 4
    pixels of it. It has no noise, and would be taken for a background that clips.
    """
    seen = [s.y[s.observed].min() for s in samples if s.observed.any()]
    lowest = min(seen, default=0.0)
    kept = []
    for sample in samples:
        at = (sample.y == lowest) | ~sample.observed
        inside = ndimage.minimum_filter(at.astype(np.uint8), (1, _FILL_SIDE, _FILL_SIDE), mode="constant", cval=1)
        side = _FILL_SIDE + 2 * _FILL_MARGIN
        fill = at & (ndimage.maximum_filter(inside, (1, side, side)) > 0)
        kept.append(Measurement(sample.y, sample.observed & ~fill))
    return kept


def sensor_limits(samples: Sequence[Measurement], noise: CensoredSensor) -> tuple[float | None, float | None]:
    """Return the lower and upper limit at which the sensor clips, None where it does not.

    An extreme of the data is a limit of the sensor if many more pixels have exactly this value than the levels within
    one standard deviation of the noise, and if the noise there is wider than the steps of the data: counts of few
    photons accumulate at zero without clipping.

    Parameters
    ----------
    samples
        Parts of the channel without filled areas, any units.
    noise
        Noise in the units of the samples, fitted with both extremes as limits: otherwise noise narrowed by clipping in
        the dark is taken for photon noise, which vanishes there.
    """
    seen = [s.y[s.observed] for s in samples]
    values = np.sort(np.concatenate(seen).astype(np.float64)) if seen else np.zeros(0)
    if values.size == 0 or values[0] == values[-1]:
        return None, None
    below, above = noise.deviation(torch.from_numpy(values[[0, -1]])).tolist()
    low = float(values[0]) if _is_spike(values, below) else None
    high = float(values[-1]) if _is_spike(-values[::-1], above) else None
    return low, high


def _is_spike(ascending: NDArray[np.float64], s: float) -> bool:
    """Return whether the first of the sorted values is a limit; ``s``: standard deviation of the noise there."""
    limit = ascending[0]
    at, half, whole = (int(n) for n in np.searchsorted(ascending, limit + s * np.array([0, 0.5, 1]), side="right"))
    levels = np.unique(ascending[at:whole]).size
    if at < max(_CLIPPED_SHARE * ascending.size, _CLIPPED_PIXELS) or levels < _LEAST_LEVELS:
        return False
    # values beyond a gap do not belong to the noise around the limit
    continues = half - at > _NEARER_HALF * (whole - at)
    return continues and at > _SPIKE * (whole - at) / levels
