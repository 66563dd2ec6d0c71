"""Test whether a tile contains signal. Tiles of noise alone are not trained on.

Noise is independent between pixels, or has a known correlation; structure that passed the PSF is correlated. The tile
is filtered by Gaussians of the PSF's width and wider, and normalised so that noise has variance 1 at every scale. It is
noise alone if at no scale the maximum (a bead) or the mean square (faint texture) exceeds what noise reaches. A plane
that rises by less than the noise is subtracted first, since Gaussian filters pass slopes and illumination is rarely
uniform.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, special  # scipy.stats takes half a second to import, in every worker

from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.inversion.sensor.correlation import NoiseCorrelation
from ssi_pipeline.inversion.sensor.impulses import NoiseModel
from ssi_pipeline.inversion.sensor.stencil import Stencil
from ssi_pipeline.inversion.tile import TileTensors

Array = NDArray[np.float32]

_SCALES = (1.0, 2.0, 4.0)
"""Widths of the Gaussians relative to the PSF's: for points, cells, and shading."""

_CHANCE = 0.01
"""False positive rate: the probability that a tile of noise is trained on, over all tests together."""

_MARGIN = 1.25
"""Tolerated error of the calibrated noise, as a ratio of variances: the least that ``channel_alarms`` reports."""

_RADIUS = 3.0
"""Radius of the Gaussian kernels in standard deviations."""

_WIDEST = 1 / 6
"""Largest standard deviation of a Gaussian as a share of an axis: wider ones leave too few independent means."""

_NEIGHBOURS = 2.0
"""Limit of the mean of an impulse's neighbours in standard errors: 1 in 20 impulses exceeds it, and its tile is trained
on. With 3, 1 bead in 40 was taken for an impulse (peak 5 deviations above 2 photons, with one bright pixel)."""

_FEWEST = 256
"""Fewest usable pixels of a tile to be classified as noise alone."""


def tile_is_noise_only(problem: Problem, tile: TileTensors) -> bool:
    """Return whether a tile contains noise alone, apart from impulses.

    Impulses are excluded only in a second test, where the first one fails: at few photons the impulse test removes the
    upper tail of the skewed noise unevenly, and the remaining noise is no longer independent.
    """
    y, observed, usable = (t.cpu().numpy() for t in (tile.y, tile.observed, tile.usable))
    noise, psf = problem.calibration.noise, problem.forward.approximate_psf
    correlation = problem.calibration.correlation
    if is_noise_only(y, observed, noise, psf, correlation):
        return True
    return is_noise_only(y, observed & ~lone_impulses(y, observed, usable, noise), noise, psf, correlation)


def lone_impulses(
    y: NDArray[np.floating], observed: NDArray[np.bool_], usable: NDArray[np.bool_], noise: NoiseModel
) -> NDArray[np.bool_]:
    """Return the mask of impulses whose neighbours (up to eight in the plane y x) are noise.

    At few photons the impulse test also finds the central pixel of a dim bead, whose neighbours are brighter.
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


def is_noise_only(
    y: NDArray[np.floating],
    usable: NDArray[np.bool_],
    noise: NoiseModel,
    psf: NDArray[np.floating],
    correlation: NoiseCorrelation | None = None,
) -> bool:
    """Return whether an image contains no structure above its noise.

    Parameters
    ----------
    y
        Measurement in the units of ``noise``, (z) y x.
    usable
        False at pixels to ignore: padding, non-finite pixels, impulses; shape of ``y``.
    noise
        Calibrated noise of the channel.
    psf
        PSF with the axes of ``y``, sum 1.
    correlation
        Correlation of the noise between pixels; None where it is white.
    """
    if int(usable.sum()) < _FEWEST:
        return False
    slope, rise = _plane(y, usable)
    level = float(np.median(y[usable]))
    # too high a calibrated noise would hide structure, too low a one would find it in any noise: use the noise of the
    # tile itself, unless it is so high that structure may contribute
    variance = min(_fine_variance(y, usable, Stencil.of(correlation)), _MARGIN * noise.variance(level))
    if not variance > 0 or rise**2 > variance:
        return False
    white = np.where(usable, (y - slope) / math.sqrt(variance), 0).astype(np.float32)
    share = _CHANCE / (2 * len(_SCALES))
    return not any(_exceeds_noise(white, usable, kernels, share, correlation) for kernels in _gaussians(psf, y.shape))


def _plane(y: NDArray[np.floating], usable: NDArray[np.bool_]) -> tuple[Array, float]:
    """Return the least-squares plane through the usable pixels, and its total rise over the tile."""
    ramps = [np.linspace(-0.5, 0.5, n).reshape([-1 if i == a else 1 for i in range(y.ndim)]) if n > 1 else None
             for a, n in enumerate(y.shape)]  # fmt: skip
    used = [np.broadcast_to(ramp, y.shape)[usable] for ramp in ramps if ramp is not None]
    columns = np.stack([np.ones(used[0].size), *used])
    solved = np.linalg.lstsq(columns @ columns.T, columns @ y[usable].astype(np.float64), rcond=None)[0]
    plane = np.full(y.shape, solved[0])
    for coefficient, ramp in zip(solved[1:], (r for r in ramps if r is not None), strict=True):
        plane += coefficient * ramp
    return plane.astype(np.float32), float(np.abs(solved[1:]).sum())


def _fine_variance(y: NDArray[np.floating], usable: NDArray[np.bool_], stencil: Stencil) -> float:
    """Return the variance of the noise by second differences along y and x (Immerkaer 1996); inf without pixels."""
    s = stencil.stride
    inner = (..., slice(s, -s), slice(s, -s))
    between = [0] * (s - 1)
    difference = y.astype(np.float32)
    for axis in (-2, -1):
        difference = ndimage.convolve1d(difference, [1, *between, -2, *between, 1], axis=axis)
    whole = ndimage.minimum_filter(usable, (1,) * (y.ndim - 2) + (2 * s + 1,) * 2)[inner]
    left = difference[inner][whole] / stencil.plane_norm
    return float(np.mean(np.square(left), dtype=np.float64)) if left.size else math.inf


def _gaussians(psf: NDArray[np.floating], shape: tuple[int, ...]) -> list[list[NDArray[np.float64]]]:
    """Return, for each scale, the kernels of a separable Gaussian along each axis, sum 1."""
    found = []
    for scale in _SCALES:
        kernels = []
        for axis, n in enumerate(shape):
            along = psf.sum(axis=tuple(a for a in range(psf.ndim) if a != axis), dtype=np.float64)
            # standard deviation of the Gaussian with the same sum of squares, which ignores wide faint tails
            width = float(along.sum() ** 2 / np.sum(along**2)) / (2 * math.sqrt(math.pi))
            sigma = min(scale * width, _WIDEST * n)
            radius = math.ceil(_RADIUS * sigma) if n > 1 else 0
            kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma, 1e-3)) ** 2)
            kernels.append(kernel / kernel.sum())
        found.append(kernels)
    return found


def _of_correlated(kernels: list[NDArray[np.float64]], correlation: NoiseCorrelation) -> tuple[float, float]:
    """Return the variance and the number of independent values of filtered noise, relative to white noise."""
    shape = [4 * kernel.size if kernel.size > 1 else 1 for kernel in kernels]
    power: NDArray[np.float64] = np.ones((1,) * len(shape))
    for axis, (kernel, n) in enumerate(zip(kernels, shape, strict=True)):
        along = np.abs(fft.fft(kernel, n)) ** 2
        power = power * along.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    filtered = power * correlation.spectrum(shape)
    larger = float(filtered.mean() / power.mean())
    return larger, larger**2 * float(np.mean(power**2) / np.mean(filtered**2))


def _exceeds_noise(
    white: Array,
    usable: NDArray[np.bool_],
    kernels: list[NDArray[np.float64]],
    share: float,
    correlation: NoiseCorrelation | None,
) -> bool:
    """Return whether the largest local mean, or the mean square, has a p-value below ``share`` for unit noise."""
    mean, variance, independent = white, usable.astype(np.float32), 1.0
    for axis, kernel in enumerate(kernels):
        mean = ndimage.convolve1d(mean, kernel, axis=axis, mode="constant")
        variance = ndimage.convolve1d(variance, kernel**2, axis=axis, mode="constant")
        overlap = np.correlate(kernel, kernel, "full") / np.sum(kernel**2)
        independent /= float(np.sum(overlap**2))
    most = math.prod(float(np.sum(kernel**2)) for kernel in kernels)
    seen = variance > 0.5 * most  # excludes borders and gaps
    count = int(seen.sum())
    if not count:
        return True
    if correlation is not None:
        larger, fewer = _of_correlated(kernels, correlation)
        variance, independent = variance * np.float32(larger), independent * fewer
    square = mean[seen] ** 2 / variance[seen]
    if float(square.max()) > float(special.ndtri(share / (2 * count))) ** 2:
        return True
    freedom = max(count * independent, 1.0)
    return float(square.mean(dtype=np.float64)) > float(special.chdtri(freedom, share)) / freedom
