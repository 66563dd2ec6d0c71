"""Measure the correlation of the noise between planes or frames, at frequencies at which there is hardly any signal.

Planes interpolated from the same data share their noise, as do frames of a camera with lag or a fixed pattern, or that
were denoised over time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.sensor.flat_spectrum import Floats, flat_spectrum, frequencies
from ssi_pipeline.inversion.sensor.impulses import NoiseModel
from ssi_pipeline.inversion.sensor.noise_bins import step_of
from ssi_pipeline.inversion.sensor.saturation import without_fill

_FARTHEST = 2
"""Largest lag in the plane, pixels: interpolation and deskewing share noise with the nearest pixels."""

_HIGH = 0.7
"""Frequencies along y or x, as a share of the highest, from which the noise is judged where the PSF passes all."""

_TINY = 1e-12

_SHARE = 0.1
"""Least share of frequencies at which the correlation is judged."""


def noise_between(
    pairs: Sequence[Measurement], offset: float, scale: float, noise: NoiseModel, psf: Floats
) -> float | None:
    """Return the correlation of the noise of neighbours, of the largest magnitude at any lag; None if unknown.

    Where the PSF leaves no frequency without signal, signal counts as noise: the correlation is then never too small.

    Parameters
    ----------
    pairs
        Samples of two planes y x each, raw units.
    offset, scale
        Normalisation: normalised = (raw - offset) / scale.
    noise
        Noise of the channel, normalised.
    psf
        Axes y x, sum 1.
    """
    normal = [Measurement(((s.y - offset) / scale).astype(np.float32), s.observed) for s in without_fill(pairs)]
    step = min((step_of(s.y[s.observed]) for s in normal if s.observed.any()), default=0.0)
    spectrum = flat_spectrum(normal, lambda level: math.sqrt(noise.variance(level)), step, psf[None])
    if spectrum is None or not spectrum.cross:
        return None
    y, x = frequencies()
    judged = spectrum.quiet if spectrum.wide else np.maximum(np.abs(y), np.abs(x)) > _HIGH * np.pi
    if judged.mean() < _SHARE:
        return None
    cross = spectrum.cross[0][judged] / np.maximum(spectrum.smooth[judged], _TINY)
    sides, y, x = range(-_FARTHEST, _FARTHEST + 1), y[judged], x[judged]
    lags = itertools.product(sides, sides)
    return max((float(np.mean(cross * np.exp(1j * (y * dy + x * dx))).real) for dy, dx in lags), key=abs)
