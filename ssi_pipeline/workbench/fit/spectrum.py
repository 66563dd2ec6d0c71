"""Power spectrum of an image, averaged over rings of frequencies, and how that of a PSF appears in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.inversion.linear.marginal_likelihood import folded

SIDE = 64
"""Pixels of a window along y and x: it resolves 32 rings of frequencies."""

LOWEST = 3
"""Lowest frequency in periods per window: the mean leaks into those below it."""

_FINE = 2
"""Rings of the model per ring of the data: a zero of the transfer function is narrower than one."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rings:
    """Rings of about the same frequency, for square windows.

    Attributes
    ----------
    side
        Pixels of a window along y and x, even.
    """

    side: int

    @cached_property
    def _radius(self) -> Floats:
        """Frequency of each element of ``rfft2`` in periods per pixel."""
        return np.asarray(np.hypot(np.fft.fftfreq(self.side)[:, None], np.fft.rfftfreq(self.side)), np.float64)

    @cached_property
    def _index(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """Coarse and fine ring of each frequency in the order of ``rfft2``, and how often it counts."""
        coarse, fine = (_numbered(np.round(n * self._radius * self.side)) for n in (1, _FINE))
        count = np.full(self._radius.shape, 2.0)
        count[:, [0, -1]] = 1
        return coarse, fine, count

    def mean(self, spectrum: Floats, fine: bool = False) -> Floats:
        """Return the mean of a spectrum (in the order of ``rfft2``) in each ring."""
        coarse, finer, count = self._index
        ring = (finer if fine else coarse).ravel()
        return np.asarray(np.bincount(ring, (spectrum * count).ravel()) / np.bincount(ring, count.ravel()), np.float64)

    @cached_property
    def modes(self) -> Floats:
        """Independent frequencies in each ring."""
        coarse, _, count = self._index
        return np.bincount(coarse.ravel(), count.ravel()) / 2

    @cached_property
    def used(self) -> NDArray[np.bool_]:
        """Rings that the mean of a window does not leak into."""
        return self.mean((self._radius * self.side >= LOWEST).astype(np.float64)) > 0.5

    @cached_property
    def frequency(self) -> Floats:
        """Frequency of the rings in periods per pixel."""
        return self.mean(self._radius)

    @cached_property
    def fine_frequency(self) -> Floats:
        """Frequency of the fine rings in periods per pixel."""
        return np.sqrt(self.mean(self._radius**2, fine=True))

    @cached_property
    def leakage(self) -> Floats:
        """Matrix from the fine rings of a spectrum to the rings of that of tapered windows."""
        coarse, fine, count = self._index
        total = np.bincount(coarse.ravel(), count.ravel())
        columns = []
        for ring in range(int(fine.max()) + 1):
            spread = _leaked((fine == ring).astype(np.float64))
            columns.append(np.bincount(coarse.ravel(), (spread * count).ravel()) / total)
        return np.stack(columns, axis=1)

    def transfer(self, psf: NDArray[np.floating]) -> Floats:
        """Return |H|^2 of a PSF (y x, sum 1) in the fine rings."""
        spectrum = np.fft.rfft2(folded(psf, (self.side, self.side)))
        return self.mean(np.abs(spectrum) ** 2, fine=True)

    def power(self, window: NDArray[np.floating]) -> Floats:
        """Return the power of a window (y x) in each ring; white noise has that of its variance."""
        along = np.hanning(self.side + 2)[1:-1]
        taper = np.outer(along, along) / np.square(along).sum()
        level = float((window * taper).sum() / taper.sum())
        return self.mean(np.abs(np.fft.rfft2((window - level) * taper)) ** 2)


def boxes_of(shape: tuple[int, int], side: int, corner: tuple[int, int] = (0, 0)) -> Iterator[tuple[slice, slice]]:
    """Yield windows of a plane (y x) that overlap by half, on the same grid for all planes of an image.

    ``corner``: place of the plane's first pixel in the image.
    """
    step = side // 2
    starts = [range(-first % step, n - side + 1, step) for n, first in zip(shape, corner, strict=True)]
    for y, x in product(*starts):
        yield slice(y, y + side), slice(x, x + side)


def _numbered(ring: Floats) -> NDArray[np.int64]:
    return np.unique(ring, return_inverse=True)[1].reshape(ring.shape)


def _leaked(power: Floats) -> Floats:
    """Return a power spectrum (in the order of ``rfft2``) as it is seen through Hann's window."""
    power = 2 / 3 * power + 1 / 6 * (np.roll(power, 1, 0) + np.roll(power, -1, 0))
    right = np.concatenate([power[:, 1:], power[:, -2:-1]], 1)  # the other half of the spectrum mirrors this one
    left = np.concatenate([power[:, 1:2], power[:, :-1]], 1)
    return np.asarray(2 / 3 * power + 1 / 6 * (left + right))
