"""Measure the correlation of the noise between planes or frames, at frequencies at which there is hardly any signal.

Planes interpolated from the same data share their noise, as do frames of a camera with lag or a fixed pattern, or that
were denoised over time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.sensor.flat_spectrum import Flags, FlatSpectrum, Floats, flat_spectrum, frequencies
from ssi_pipeline.inversion.sensor.impulses import NoiseModel
from ssi_pipeline.inversion.sensor.noise_bins import step_of
from ssi_pipeline.inversion.sensor.saturation import without_fill

SMALL = 2
"""Largest lag in the plane: interpolation and deskewing share noise with the nearest pixels."""

RIDGE = 1e-3
"""Penalty on squared correlations, in mean squared relative errors; times the fourth power of the lag where the
spectrum of one plane is fitted. Chosen by the error of rho on 10 kinds of correlation and five scenes."""

_HIGH = 0.7
"""Frequencies along y or x, as a share of the highest, from which the noise is judged where the PSF passes all."""

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
    rho = cross_correlation(spectrum, judged, 0)
    return max(rho.values(), key=abs)


def cross_correlation(spectrum: FlatSpectrum, judged: Flags, plane: int) -> dict[tuple[int, int], float]:
    """Return the correlation of the noise by lag y x, from the cross-spectrum with a plane above at some frequencies.

    ``plane``: index into ``spectrum.cross``.
    """
    y, x = (k[judged] for k in frequencies())
    power: NDArray[np.float64] = spectrum.smooth[judged]
    sides = range(-SMALL, SMALL + 1)
    lags = [(dy, dx) for dy in sides for dx in sides]
    design = np.stack([np.exp(-1j * (y * d[0] + x * d[1])) for d in lags], 1) / power[:, None]
    target = spectrum.cross[plane][judged] / power
    gram, side = (design.conj().T @ design).real, (design.conj().T @ target).real
    found = np.linalg.solve(gram + RIDGE * len(power) / np.mean(power) ** 2 * np.eye(len(lags)), side)
    return {lag: float(value / power.mean()) for lag, value in zip(lags, found, strict=True)}
