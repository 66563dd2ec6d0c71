"""Whether a tile holds noise alone: then there is nothing that training could learn.

Noise of neighbouring pixels is independent, structure that has come through the PSF is not. So the tile is averaged
with Gaussians as wide as the PSF and wider, in units in which white noise would have variance 1 at every scale.
A tile is blank where, at each scale, neither one place (a bead) nor the mean square (faint texture) is beyond what
such noise reaches. A plane is taken out before, if it rises by less than the noise: a filter of sum 1 passes a slope
as it is, and light sheets are never quite even.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from ssi_pipeline.inversion.problem import Problem, TileTensors
from ssi_pipeline.inversion.sensor.impulses import NoiseModel

Array = NDArray[np.float32]

_SCALES = (1.0, 2.0, 4.0)
"""Widths of the means over the PSF's: a point, a cell, a shade."""

_CHANCE = 0.01
"""Of a tile of noise to be trained all the same, over all the tests together."""

_MARGIN = 1.25
"""What the calibration may be wrong by: the least ratio of variances that ``psf_doubts`` speaks of."""

_RADIUS = 3.0
"""Of the Gaussians, in their standard deviations."""

_WIDEST = 1 / 6
"""Of an axis, the standard deviation: beyond it there are too few independent means to judge by."""

_NEIGHBOURS = 2.0
"""Standard errors of the mean of an impulse's neighbours: 1 in 20 impulses is beyond, and its tile is trained. With 3,
1 bead of 40 was taken for an impulse (peak 5 deviations above 2 photons, one pixel of it drawn high)."""

_FEWEST = 256
"""Pixels without which nothing is called blank."""


def tile_is_blank(problem: Problem, tile: TileTensors) -> bool:
    """Return whether a tile holds noise alone, and maybe impulses.

    Impulses are left out only if the tile does not pass with them: of the skewed noise of few photons the test for
    impulses takes the upper tail, here more and there less, and what it leaves is no longer independent.
    """
    y, observed, usable = (t.cpu().numpy() for t in (tile.y, tile.observed, tile.usable))
    noise, psf = problem.calibration.noise, problem.forward.approximate_psf
    if is_blank(y, observed, noise, psf):
        return True
    return is_blank(y, observed & ~lone_impulses(y, observed, usable, noise), noise, psf)


def lone_impulses(
    y: NDArray[np.floating], observed: NDArray[np.bool_], usable: NDArray[np.bool_], noise: NoiseModel
) -> NDArray[np.bool_]:
    """Return the pixels taken for impulses whose neighbours (up to eight, y x) are noise: a dim bead's are not.

    Of few photons the test for impulses takes the middle of a bead too as well.
    """
    found = observed & ~usable
    if not found.any():
        return found
    level = float(np.median(y[observed]))
    above = np.where(observed, y - level, 0).astype(np.float32)
    size = (1,) * (y.ndim - 2) + (3, 3)
    ones = np.ones(size, np.float32)
    total = ndimage.convolve(above, ones, mode="constant") - above
    count = np.maximum(ndimage.convolve(observed.astype(np.float32), ones, mode="constant") - 1, 1)
    near: NDArray[np.bool_] = np.abs(total) <= _NEIGHBOURS * np.sqrt(noise.variance(level) * count)
    return found & near


def is_blank(y: NDArray[np.floating], usable: NDArray[np.bool_], noise: NoiseModel, psf: NDArray[np.floating]) -> bool:
    """Return whether nothing in a tile rises above its noise.

    Parameters
    ----------
    y
        The measurement in the units of ``noise``, (z) y x.
    usable
        False at pixels that say nothing: padding, not finite, impulses.
    noise
        As calibrated for the channel.
    psf
        With the axes of ``y``, sum 1.
    """
    if int(usable.sum()) < _FEWEST:
        return False
    slope, rise = _plane(y, usable)
    level = float(np.median(y[usable]))
    # a calibration that is too high would hide structure, one too low would show it in all noise: the tile's own
    # noise decides, unless it is so high that it may be structure itself
    variance = min(_fine_variance(y, usable), _MARGIN * noise.variance(level))
    if not variance > 0 or rise**2 > variance:
        return False
    white = np.where(usable, (y - slope) / math.sqrt(variance), 0).astype(np.float32)
    share = _CHANCE / (2 * len(_SCALES))
    return not any(_stands_out(white, usable, kernels, share) for kernels in _gaussians(psf, y.shape))


def _plane(y: NDArray[np.floating], usable: NDArray[np.bool_]) -> tuple[Array, float]:
    """Return the plane that is nearest to the usable pixels (least squares), and how far it rises over the tile."""
    ramps = [np.linspace(-0.5, 0.5, n).reshape([-1 if i == a else 1 for i in range(y.ndim)]) if n > 1 else None
             for a, n in enumerate(y.shape)]  # fmt: skip
    used = [np.broadcast_to(ramp, y.shape)[usable] for ramp in ramps if ramp is not None]
    columns = np.stack([np.ones(used[0].size), *used])
    solved = np.linalg.lstsq(columns @ columns.T, columns @ y[usable].astype(np.float64), rcond=None)[0]
    plane = np.full(y.shape, solved[0])
    for coefficient, ramp in zip(solved[1:], (r for r in ramps if r is not None), strict=True):
        plane += coefficient * ramp
    return plane.astype(np.float32), float(np.abs(solved[1:]).sum())


def _fine_variance(y: NDArray[np.floating], usable: NDArray[np.bool_]) -> float:
    """Return the variance of white noise by second differences along y and x (Immerkaer 1996); inf without any."""
    inner = (..., slice(1, -1), slice(1, -1))
    difference = y.astype(np.float32)
    for axis in (-2, -1):
        difference = ndimage.convolve1d(difference, [1, -2, 1], axis=axis)
    whole = ndimage.minimum_filter(usable, (1,) * (y.ndim - 2) + (3, 3))[inner]
    left = difference[inner][whole] / 6
    return float(np.mean(np.square(left), dtype=np.float64)) if left.size else math.inf


def _gaussians(psf: NDArray[np.floating], shape: tuple[int, ...]) -> list[list[NDArray[np.float64]]]:
    """Return for each scale the kernels of a separable Gaussian, one for each axis, of sum 1."""
    found = []
    for scale in _SCALES:
        kernels = []
        for axis, n in enumerate(shape):
            along = psf.sum(axis=tuple(a for a in range(psf.ndim) if a != axis), dtype=np.float64)
            # of a Gaussian, the standard deviation; wide faint tails of a PSF count for little
            width = float(along.sum() ** 2 / np.sum(along**2)) / (2 * math.sqrt(math.pi))
            sigma = min(scale * width, _WIDEST * n)
            radius = math.ceil(_RADIUS * sigma) if n > 1 else 0
            kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma, 1e-3)) ** 2)
            kernels.append(kernel / kernel.sum())
        found.append(kernels)
    return found


def _stands_out(white: Array, usable: NDArray[np.bool_], kernels: list[NDArray[np.float64]], share: float) -> bool:
    """Whether a local mean, or their mean square, is one that noise of variance 1 reaches with less than ``share``."""
    mean, variance, independent = white, usable.astype(np.float32), 1.0
    for axis, kernel in enumerate(kernels):
        mean = ndimage.convolve1d(mean, kernel, axis=axis, mode="constant")
        variance = ndimage.convolve1d(variance, kernel**2, axis=axis, mode="constant")
        correlation = np.correlate(kernel, kernel, "full") / np.sum(kernel**2)
        independent /= float(np.sum(correlation**2))
    most = math.prod(float(np.sum(kernel**2)) for kernel in kernels)
    seen = variance > 0.5 * most  # not at the borders, nor in holes
    count = int(seen.sum())
    if not count:
        return True
    square = mean[seen] ** 2 / variance[seen]
    if float(square.max()) > float(stats.norm.isf(share / (2 * count))) ** 2:
        return True
    freedom = max(count * independent, 1.0)
    return float(square.mean(dtype=np.float64)) > float(stats.chi2.isf(share, freedom)) / freedom
