"""Find the levels at which the sensor clips, and areas that were filled in and never measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.physics.sensor import CensoredSensor

_SPIKE = 4.0
"""A limit is where the sensor clips when it is this many times as frequent as the levels next to it."""

_CLIPPED_SHARE = 1e-4
"""Below this share of pixels at a limit, clipping biases nothing that could be seen."""

_CLIPPED_PIXELS = 20
"""Fewer may share a value by chance."""

_LEAST_LEVELS = 3
"""Levels within one standard deviation: the counts of few photons have one or two."""

_NEARER_HALF = 0.2
"""Share of those levels that is in the nearer half. Of normal noise 3 s inside the limit it is 0.21, nearer more."""

_FILL_SIDE, _FILL_MARGIN = 9, 4
"""Pixels. Of 81 pixels all are clipped with a probability of 1e-6 where 84 % are (a level 1 s below the limit)."""


def without_fill(samples: Sequence[Measurement]) -> list[Measurement]:
    """Take areas of the lowest value as not observed: masks and padding filled with a constant, not clipped noise.

    An area is a square of 9 x 9 pixels (in the plane y x) that all have the lowest value, with what has that
    value near by. It has no noise to tell anything by, and would pass for a background that clips.
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
    """Return the levels at which the sensor clips, None where it does not.

    A limit of the data is a limit of the sensor when many pixels sit exactly on it, far more than on
    the levels within one standard deviation of the noise there, and when that noise is wider than the sensor's
    steps (counts of few photons, which pile up at zero by themselves, are no clipping).

    Parameters
    ----------
    samples
        Measurements, areas of fill taken out.
    noise
        In their units, fitted as if both ends of the data were limits: else noise that clipping narrows in the
        dark passes for photon noise, which has no width there.
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
    limit = ascending[0]
    at, half, whole = (int(n) for n in np.searchsorted(ascending, limit + s * np.array([0, 0.5, 1]), side="right"))
    levels = np.unique(ascending[at:whole]).size
    if at < max(_CLIPPED_SHARE * ascending.size, _CLIPPED_PIXELS) or levels < _LEAST_LEVELS:
        return False
    # beyond a gap there is something else than the rest of the noise
    continues = half - at > _NEARER_HALF * (whole - at)
    return continues and at > _SPIKE * (whole - at) / levels
