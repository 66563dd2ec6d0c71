"""Check the PSF's width on the samples of a channel: cut windows out of them that the spectrum can be taken of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.inversion.measurement import Measurement, to_tensor
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.quality.psf_width import WidthFit, fit_width

Spectrum = Callable[[Sequence[int]], NDArray[np.floating]]
"""Power spectrum on a grid y x of the given shape, in the order of ``fft2``, any units."""

_SIDE = 64
"""Pixels of a window along y and x: it resolves 32 rings of frequencies."""

_MOST_WINDOWS = 256
"""Windows taken, evenly from all: the error of a ring is then that of the model, not of chance."""

_LEAST_OBSERVED = 0.99
"""Least share of observed pixels of a window: the rest is interpolated, and its borders have spectra of their own."""

_AT_LIMIT = 1e-3
"""Distance from the upper limit, normalised units, within which a pixel is saturated."""


def check_width(
    problem: Problem,
    samples: Sequence[Measurement],
    noise: Spectrum | None = None,
    psf: NDArray[np.float32] | None = None,
) -> WidthFit | None:
    """Find the largest width of the PSF that fits the samples of a channel.

    Parameters
    ----------
    problem
        Inverse problem of the channel, on the CPU.
    samples
        Parts of the channel, raw units.
    noise
        Power spectrum of correlated noise; None: it is white.
    psf
        PSF (z) y x that passes most detail, where it varies; None: that of the problem.

    Returns
    -------
    fit
        None where there is no blur, or no window without saturated and unobserved pixels.
    """
    psf = problem.forward.approximate_psf if psf is None else psf
    if psf.size == 1:
        return None
    side = min(_SIDE, *(min(s.y.shape[1:]) for s in samples))
    windows = [window for sample in samples for window in _windows(problem, sample, side)]
    step = -(-len(windows) // _MOST_WINDOWS)
    return fit_width(windows[::step], psf, noise and noise((side, side))) if windows else None


def _windows(problem: Problem, sample: Measurement, side: int) -> Iterator[NDArray[np.float32]]:
    """Yield the windows y x of a sample, normalised, with impulses repaired; in 3D from planes a PSF's radius apart."""
    normal = problem.calibration.normalised(sample.y)
    image = problem.linear.impulses.repair(to_tensor(normal, problem.axes)).numpy().reshape(normal.shape)
    # a saturated plateau ends more sharply than any PSF
    whole = sample.observed & (normal < problem.forward.sensor.high - _AT_LIMIT)
    saturated = sample.observed & ~whole
    apart = max(1, problem.forward.radius[0] // 2) if problem.axes == 3 else 1
    depth, height, width = sample.y.shape
    for z in range(0, depth, apart):
        for y in range(0, height - side + 1, side):
            for x in range(0, width - side + 1, side):
                box = (z, slice(y, y + side), slice(x, x + side))
                if whole[box].mean() >= _LEAST_OBSERVED and not saturated[box].any():
                    yield image[box]
