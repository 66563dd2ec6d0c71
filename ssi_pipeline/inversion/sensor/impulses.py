"""Find and repair impulses: pixels that neither noise nor a point source explains.

A pixel is an impulse if its distance from the median of its 5 x 5 window (in the plane y x) exceeds ``impulse_sigma``
standard deviations of the noise plus ``kappa`` times the interquartile range of the window. ``kappa`` is derived from
the PSF so that a point source of any brightness passes. If the PSF is so narrow that a point source is a single pixel,
``kappa`` is infinite and the test is inactive.

At few counts the noise is skewed: the median of a window is 0, and a lone photon is many deviations from it. There the
level is the mean of the 24 neighbours, and the threshold is that of the variance-stabilised counts (Anscombe 1948):
2 (sqrt(n + 3/8) - sqrt(m + 3/8)) > k is n - m > k sqrt(m + 3/8) + k^2 / 4, n the count and m the level.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ssi_pipeline.geometry.halo import REPAIR_RADIUS
from ssi_pipeline.inversion.sensor.window_ranks import SIDE as _SIDE
from ssi_pipeline.inversion.sensor.window_ranks import window_ranks
from ssi_pipeline.inversion.window_sums import window_sums

_RANKS = (6, 12, 18)
"""Ranks of the quartiles among the 25 sorted pixels of a window."""

_SLAB_PIXELS = 32768
"""Pixels per slab on a CPU: the 25 values of their windows fit into the cache of a core."""

_DEVICE_SLAB_PIXELS = 2**24
"""Pixels per slab on another device, where each operation costs a launch: the values take 1.7 GB."""

_SIGNIFICANT = 0.02
"""Share of the PSF's peak below which deviations are ignored, as noise dominates."""

_MARGIN = 1.1
"""Safety factor on kappa."""

_IQR_OF_NORMAL = 1.349

_FEW = 10.0
"""Variance in squared counts below which the noise counts as skewed. Normal noise of 3 standard deviations is exceeded
by Poisson noise of a mean of 10 in 0.35 % of the pixels, which moves the mean by 0.4 %; at 5 it is 0.8 %."""

_ANSCOMBE = 3 / 8
"""Constant of the transformation, counts."""


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """Noise with variance alpha max(z - dark, 0) + sigma^2 at a level z, in normalised units.

    Attributes
    ----------
    alpha, sigma, dark
        Parameters of the variance.
    most
        Largest alpha that the data allow: the size of a count. Where read noise hides the photon noise, alpha is hardly
        known, and a count may be larger than it. 0: alpha.
    """

    alpha: float
    sigma: float
    dark: float = 0.0
    most: float = 0.0

    @property
    def count(self) -> float:
        """Largest size of a count, normalised units."""
        return max(self.alpha, self.most)

    def variance(self, level: float) -> float:
        """Return the variance at one level."""
        return self.alpha * max(level - self.dark, 0.0) + self.sigma**2

    def deviation(self, level: Tensor) -> Tensor:
        """Return the standard deviation at each level."""
        return torch.sqrt(self.alpha * (level - self.dark).clamp(min=0) + self.sigma**2)

    def few(self, level: Tensor) -> Tensor:
        """Return where the variance is that of few counts, so that the noise is skewed."""
        return self.deviation(level) < math.sqrt(_FEW) * self.count


@dataclass(frozen=True, slots=True)
class ImpulseTest:
    """Test and repair of impulses in normalised images (z) y x.

    Attributes
    ----------
    noise
        Noise model, normalised units.
    impulse_sigma
        Threshold in standard deviations of the noise; None: no pixel is an impulse.
    kappa
        Threshold in interquartile ranges, from ``point_source_kappa``.
    """

    noise: NoiseModel
    impulse_sigma: float | None
    kappa: float

    @property
    def active(self) -> bool:
        """Whether the test can find any impulse."""
        return self.impulse_sigma is not None and math.isfinite(self.kappa)

    def find(self, image: Tensor) -> Tensor:
        """Return the mask of impulses, shape of ``image``."""
        return self.examine(image)[0]

    def repair(self, image: Tensor) -> Tensor:
        """Return the image with impulses replaced by the level around them."""
        return self.examine(image)[1]

    def examine(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mask of impulses, and the repaired image."""
        if not self.active:
            return torch.zeros_like(image, dtype=torch.bool), image
        impulse, level, few = self._classify(image)
        around = torch.where(few, neighbour_mean(image, ~impulse), level)
        return impulse, torch.where(impulse, around, image)

    def level(self, image: Tensor) -> Tensor:
        """Return the local level: the median of each window, or the mean of the neighbours at few counts."""
        return self._level(image, window_quartiles(image)[1])[0]

    def _level(self, image: Tensor, median: Tensor) -> tuple[Tensor, Tensor]:
        """Return the local level, and where it is one of few counts."""
        if self.noise.count == 0:
            return median, torch.zeros_like(median, dtype=torch.bool)
        mean = neighbour_mean(image)
        few = self.noise.few(mean)
        return torch.where(few, mean, median), few

    def _classify(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mask of impulses, the level around each pixel, and where it is one of few counts."""
        assert self.impulse_sigma is not None
        k, count = self.impulse_sigma, self.noise.count
        low, median, high = window_quartiles(image)
        level, few = self._level(image, median)
        noise = self.noise.deviation(level)
        # subtract the interquartile range of the noise: the rest is structure
        spread = torch.sqrt(((high - low) ** 2 - (_IQR_OF_NORMAL * noise) ** 2).clamp(min=0))
        skewed = k * torch.sqrt(noise**2 + _ANSCOMBE * count**2) + k**2 / 4 * count
        limit = torch.where(few, skewed, k * noise) + self.kappa * spread
        return (image - level).abs() > limit, level, few


def point_source_kappa(psf: NDArray[np.floating]) -> float:
    """Return 1.1 times the smallest kappa with which the PSF passes the test; may be infinite.

    Parameters
    ----------
    psf
        Axes (z) y x, any scale.
    """
    peak = float(psf.max())
    border = [(0, 0)] * (psf.ndim - 2) + [(_SIDE, _SIDE)] * 2
    image = torch.from_numpy(np.pad(np.asarray(psf, dtype=np.float32) / peak, border))
    low, median, high = window_quartiles(image)
    deviation, spread = (image - median).abs(), high - low
    significant = deviation > _SIGNIFICANT
    if not bool(significant.any()):
        return 0.0
    worst = float((deviation[significant] / spread[significant].clamp(min=1e-9)).max())
    return _MARGIN * worst if worst < 1 / _SIGNIFICANT else math.inf


def neighbour_mean(image: Tensor, good: Tensor | None = None) -> Tensor:
    """Return the mean of the 24 neighbours of each pixel, with replicated edges; of those that are ``good``.

    Parameters
    ----------
    image
        Axes (z) y x.
    good
        Pixels to average; None: all. Where no neighbour is good, the mean is 0.
    """
    weight = torch.ones_like(image) if good is None else good.to(image.dtype)
    return _neighbour_sum(image * weight) / _neighbour_sum(weight).clamp(min=1)


def _neighbour_sum(image: Tensor) -> Tensor:
    planes = image.reshape(-1, 1, *image.shape[-2:])
    padded = functional.pad(planes, (REPAIR_RADIUS,) * 4, mode="replicate")
    return window_sums(padded, (_SIDE, _SIDE)).reshape(image.shape) - image


def window_quartiles(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the lower quartile, median and upper quartile of each pixel's 5 x 5 window, with replicated edges.

    Slabs of the image bound the memory, and on a CPU stay in its cache.
    """
    planes = image.reshape(-1, *image.shape[-2:])
    out = [torch.empty_like(planes) for _ in _RANKS]
    padded = functional.pad(planes[:, None], (REPAIR_RADIUS,) * 4, mode="replicate")[:, 0]
    for z, y in _slabs(planes.shape, _SLAB_PIXELS if image.device.type == "cpu" else _DEVICE_SLAB_PIXELS):
        around = padded[z, y.start : y.stop + 2 * REPAIR_RADIUS]
        for target, value in zip(out, window_ranks(around, _RANKS), strict=True):
            target[z, y] = value
    low, median, high = (o.reshape(image.shape) for o in out)
    return low, median, high


def _slabs(shape: Sequence[int], most: int) -> Iterator[tuple[slice, slice]]:
    """Yield the z and y of slabs of planes z y x, of about ``most`` pixels each."""
    depth, height, width = shape
    planes, rows = max(1, most // (height * width)), max(1, most // width)
    for z in range(0, depth, planes):
        for y in range(0, height, rows):
            yield slice(z, z + planes), slice(y, min(y + rows, height))
