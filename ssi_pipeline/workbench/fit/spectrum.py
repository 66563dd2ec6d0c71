"""Power spectrum of an image, averaged over rings of frequencies, and how that of a PSF appears in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.inversion.linear.marginal_likelihood import folded

SIDE = 64
"""Pixels of a window along y and x: it resolves 32 rings of frequencies."""

DEPTH = 24
"""Planes of a window."""

LOWEST = 3
"""Lowest frequency in periods per window: the mean leaks into those below it."""

_FINE = 2
"""Rings of the model per ring of the data: a zero of the transfer function is narrower than one."""

_NARROWEST = 4
"""Planes from which a window is tapered along z."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rings:
    """Cells of frequencies with the same |kz| and about the same lateral frequency, for windows of one shape.

    Attributes
    ----------
    shape
        Of a window, z y x.
    ratio
        Lateral size of a voxel over its size along z.
    """

    shape: Ints
    ratio: float

    @cached_property
    def _index(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """Coarse and fine cell of each frequency in the order of ``rfftn``, and how often it counts."""
        z, y, x = self._frequencies
        lateral, planes = np.hypot(y, x) * self.shape[1], np.abs(z * self.shape[0]).round()
        coarse, fine = (self._numbered(planes, np.round(n * lateral)) for n in (1, _FINE))
        count = np.full(self._grid, 2.0)
        count[..., 0] = 1
        if self.shape[2] % 2 == 0:
            count[..., -1] = 1
        return coarse, fine, count

    @property
    def _frequencies(self) -> list[Floats]:
        z, y, x = self.shape
        return list(np.meshgrid(np.fft.fftfreq(z), np.fft.fftfreq(y), np.fft.rfftfreq(x), indexing="ij"))

    @property
    def _grid(self) -> Ints:
        return (*self.shape[:2], self.shape[2] // 2 + 1)

    def _numbered(self, planes: Floats, ring: Floats) -> NDArray[np.int64]:
        _, number = np.unique(planes * 1e4 + ring, return_inverse=True)
        return number.reshape(self._grid)

    def mean(self, spectrum: Floats, fine: bool = False) -> Floats:
        """Return the mean of a spectrum (in the order of ``rfftn``) in each cell."""
        coarse, finer, count = self._index
        cell = (finer if fine else coarse).ravel()
        return np.asarray(np.bincount(cell, (spectrum * count).ravel()) / np.bincount(cell, count.ravel()), np.float64)

    @cached_property
    def modes(self) -> Floats:
        """Independent frequencies in each cell."""
        coarse, _, count = self._index
        return np.bincount(coarse.ravel(), count.ravel()) / 2

    @cached_property
    def used(self) -> NDArray[np.bool_]:
        """Cells that the mean of a window does not leak into."""
        z, y, x = self._frequencies
        high = (np.hypot(y, x) * self.shape[1] >= LOWEST) | (np.abs(z) * self.shape[0] >= LOWEST)
        return self.mean(high.astype(np.float64)) > 0.5

    @cached_property
    def lateral(self) -> tuple[Floats, Floats]:
        """Lateral frequency of the cells in periods per pixel, and periods per window along z."""
        z, y, x = self._frequencies
        return self.mean(np.hypot(y, x)), self.mean(np.abs(z) * self.shape[0]).round()

    @cached_property
    def frequency(self) -> tuple[Floats, Floats]:
        """Frequency of the fine cells in periods per pixel, and the square of its share along z."""
        z, y, x = self._frequencies
        axial, lateral = (z * self.ratio) ** 2, y**2 + x**2
        square = self.mean(axial + lateral, fine=True)
        return np.sqrt(square), self.mean(axial, fine=True) / np.maximum(square, 1e-12)

    @cached_property
    def leakage(self) -> Floats:
        """Matrix from the fine cells of a spectrum to the cells of that of tapered windows."""
        _, fine, count = self._index
        coarse = self._index[0].ravel()
        total = np.bincount(coarse, count.ravel())
        columns = []
        for cell in range(int(fine.max()) + 1):
            spread = _leaked((fine == cell).astype(np.float64), self.shape)
            columns.append(np.bincount(coarse, (spread * count).ravel()) / total)
        return np.stack(columns, axis=1)

    def transfer(self, psf: NDArray[np.floating]) -> Floats:
        """Return |H|^2 of a PSF (z y x, sum 1) in the fine cells."""
        spectrum = np.fft.rfftn(folded(psf, self.shape))
        return self.mean(np.abs(spectrum) ** 2, fine=True)

    def power(self, window: NDArray[np.floating]) -> Floats:
        """Return the power of a window (z y x) in each cell; white noise has that of its variance."""
        taper = _taper(self.shape)
        level = float((window * taper).sum() / taper.sum())
        spectrum = np.fft.rfftn((window - level) * taper)
        return self.mean(np.abs(spectrum) ** 2)


def window_shape(shapes: Sequence[Ints]) -> Ints:
    """Return the shape (z y x) of windows that fit into all samples; their y and x are equal and even."""
    depth, side = min(s[0] for s in shapes), min(n for s in shapes for n in s[1:])
    return min(DEPTH, depth), min(SIDE, side) // 2 * 2, min(SIDE, side) // 2 * 2


def boxes_of(shape: Ints, window: Ints) -> Iterator[tuple[slice, ...]]:
    """Yield windows that overlap by half along each axis."""
    starts = [
        np.unique(np.linspace(0, n - w, 1 + -(-2 * (n - w) // w)).round().astype(int))
        for n, w in zip(shape, window, strict=True)
    ]
    for corner in product(*starts):
        yield tuple(slice(int(a), int(a) + w) for a, w in zip(corner, window, strict=True))


def _taper(shape: Ints) -> Floats:
    """Return Hann's window, sum of squares 1."""
    taper: Floats = np.ones(shape)
    for axis, n in enumerate(shape):
        if n >= _NARROWEST:
            taper = taper * np.hanning(n + 2)[1:-1].reshape([-1 if i == axis else 1 for i in range(3)])
    return np.asarray(taper / np.sqrt(np.square(taper).sum()))


def _leaked(power: Floats, shape: Ints) -> Floats:
    """Return a power spectrum (in the order of ``rfftn``) as it is seen through Hann's window."""
    for axis, n in enumerate(shape):
        if n < _NARROWEST:
            continue
        if axis < 2:
            around = np.roll(power, 1, axis) + np.roll(power, -1, axis)
        else:  # the other half of the spectrum mirrors this one
            last = power[..., -2:-1] if n % 2 == 0 else power[..., -1:]
            around = np.concatenate([power[..., 1:], last], -1) + np.concatenate([power[..., 1:2], power[..., :-1]], -1)
        power = 2 / 3 * power + 1 / 6 * around
    return power
