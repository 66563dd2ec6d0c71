"""Measure the spread of the noise by intensity, from flat regions of the samples in bins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.sensor.impulses import window_quartiles
from ssi_pipeline.inversion.sensor.stencil import Stencil

Floats = NDArray[np.floating]
Deviation = Callable[[Floats], Floats]

_SMOOTHING = 2.5
"""Standard deviation in pixels of the Gaussian local mean, which reduces the noise to 0.11."""

_WIDTH = (0, _SMOOTHING, _SMOOTHING)

_OUTLIER = 3.5
"""Distance of outliers from the local median in standard deviations: 1 in 2000 pixels of normal noise exceeds it."""

_FEW_COUNTS = 2
"""Tolerance for outliers in steps of the data: at few photons counts are skewed, and 3 is common at a mean of 0.5."""

_FLATTEST = 0.4
"""Share of a bin's pixels that is used: those with the smallest local gradient."""

_SCATTERED = 0.25
"""Share of complete 3 x 3 windows below which gaps count as scattered (15 % of random gaps)."""

_LEAST_LINES = 400
"""Fewest second differences along lines; with fewer, first differences are used."""

_BINS = 12
_LEAST_PIXELS = 150
"""Fewest pixels of a bin: with fewer the error of its spread exceeds 10 %."""


_NEIGHBOURS = Stencil()


@dataclass(frozen=True, slots=True)
class NoiseBins:
    """Statistics of residuals by intensity, one value per bin, normalised units.

    Attributes
    ----------
    mean
        Mean report.
    median
        Median absolute residual.
    square
        Root mean square residual.
    pixels
        Number of pixels.
    clipped
        Share of clipped pixels, 0 to 1.
    step
        Smallest difference between values of the data; 0 where the data are not quantised.
    """

    mean: NDArray[np.float64]
    median: NDArray[np.float64]
    square: NDArray[np.float64]
    pixels: NDArray[np.float64]
    clipped: NDArray[np.float64]
    step: float

    def __len__(self) -> int:
        return self.mean.size

    def where(self, use: NDArray[np.bool_]) -> NoiseBins:
        """Return the selected bins."""
        return _bins(np.stack([self.mean, self.median, self.square, self.pixels, self.clipped])[:, use], self.step)


def _bins(columns: NDArray[np.float64], step: float) -> NoiseBins:
    mean, median, square, pixels, clipped = columns
    return NoiseBins(mean, median, square, pixels, clipped, step)


def gather(
    samples: Sequence[Measurement],
    deviation: Deviation | None,
    limits: tuple[float, float],
    stencil: Stencil = _NEIGHBOURS,
) -> NoiseBins:
    """Return the statistics of residuals in flat, observed regions, in bins of equal counts and of equal widths.

    Parameters
    ----------
    samples
        Parts of the channel, normalised.
    deviation
        Standard deviation of the noise by level, to exclude outliers; None keeps them.
    limits
        Lower and upper limit of the sensor: reports at or beyond them count as clipped; infinite without a limit.
    stencil
        Differences of pixels that are the residuals.
    """
    samples = [s for s in samples if min(s.y.shape[1:]) >= 2 * stencil.stride + 1 and s.observed.any()]
    step = min((step_of(s.y[s.observed]) for s in samples), default=0.0)
    parts = [_read(s, deviation, step, stencil) for s in samples]
    if not parts or not sum(part[0].size for part in parts):
        return _bins(np.zeros((5, 0)), step)
    mean, slope, residual, raw = _joined(parts)
    order = np.argsort(mean, kind="stable")  # the columns stay as they are: sorted copies were a third of the memory
    mean = mean[order]
    rows = []
    for part in _slices(mean):
        count = max(int(_FLATTEST * (part.stop - part.start)), 1)
        flat = part.start + np.argpartition(slope[order[part]], count - 1)[:count]
        level, pixels = mean[flat].mean(), order[flat]
        clipped = float(np.mean((raw[pixels] <= limits[0]) | (raw[pixels] >= limits[1])))
        left = residual[pixels].astype(np.float64)
        rows.append((level, np.median(np.abs(left)), np.sqrt(np.mean(left**2)), flat.size, clipped))
    return _bins(np.array(rows, dtype=np.float64).T, step)


def _joined(parts: list[tuple[Floats, Floats, Floats, Floats]]) -> list[Floats]:
    """Concatenate the columns of all parts, one after the other, and empty ``parts``: they take 20 bytes a voxel."""
    columns = [list(column) for column in zip(*parts, strict=True)]
    parts.clear()
    joined: list[Floats] = []
    for column in columns:
        joined.append(np.concatenate(column))
        column.clear()
    return joined


def _slices(ascending: Floats) -> list[slice]:
    """Return bins of equal counts and of equal widths; in a sparse scene nearly all pixels are background."""
    count = ascending.size
    by_count = np.linspace(0, count, _BINS + 1).astype(int)
    edges = np.linspace(ascending[0], ascending[-1], _BINS + 1)[1:-1]
    by_width = np.searchsorted(ascending, edges)
    cuts = np.unique(np.concatenate([by_count, by_width]))
    least = min(_LEAST_PIXELS / _FLATTEST, count / 2)
    kept = [0]
    for cut in cuts[1:-1]:
        if cut - kept[-1] >= least and count - cut >= least:
            kept.append(int(cut))
    return [slice(a, b) for a, b in zip(kept, [*kept[1:], count], strict=True)]


def _read(
    sample: Measurement, deviation: Deviation | None, step: float, stencil: Stencil
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return local mean, squared gradient, residual and value of pixels with a complete 3 x 3 window, each flat."""
    good, (y, mean) = sample.observed, _fill(sample.y.astype(np.float32), sample.observed)
    if deviation is not None:
        median = window_quartiles(torch.from_numpy(y))[1].numpy()
        good = good & (np.abs(y - median) <= _OUTLIER * deviation(np.maximum(mean, median)) + _FEW_COUNTS * step)
        mean = _fill(y, good)[1]
    filled = np.where(good, y, mean)
    # the noise of odd filters is uncorrelated with that of the even residual: selection by gradient adds no bias
    slope = ndimage.gaussian_filter(filled, _WIDTH, order=(0, 1, 0)) ** 2
    slope += ndimage.gaussian_filter(filled, _WIDTH, order=(0, 0, 1)) ** 2
    s = stencil.stride
    if float(_whole_windows(sample.observed, s).sum()) < _SCATTERED * float(sample.observed.sum()):
        return _read_lines(y, mean, slope, good, step, stencil)
    use = _whole_windows(good, s)
    inner = (slice(None), slice(s, -s), slice(s, -s))
    return mean[inner][use], slope[inner][use], _residual(y, step, stencil)[use], y[inner][use]


def _read_lines(
    y: Floats, mean: Floats, slope: Floats, good: NDArray[np.bool_], step: float, stencil: Stencil
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the same from pixels with good neighbours along y or x, where gaps leave few complete windows.

    The residuals are second or first differences, divided by the norm of their weights: for white noise their
    standard deviation is that of the noise.
    """
    found = [_along(y, mean, slope, good, axis, (1, -2, 1), stencil) for axis in (1, 2)]
    if sum(part[0].size for part in found) < _LEAST_LINES:
        found = [_along(y, mean, slope, good, axis, (1, -1), stencil) for axis in (1, 2)]
    mean, slope, residual, raw = (np.concatenate(column) for column in zip(*found, strict=True))
    jitter = (step / 6) * (np.random.default_rng(0).random(residual.shape) - 0.5)
    return mean, slope, residual + jitter, raw


def _along(
    y: Floats,
    mean: Floats,
    slope: Floats,
    good: NDArray[np.bool_],
    axis: int,
    weights: tuple[int, ...],
    stencil: Stencil,
) -> tuple[Floats, Floats, Floats, Floats]:
    n = y.shape[axis] - stencil.stride * (len(weights) - 1)
    shifted = [[slice(None)] * axis + [slice(k * stencil.stride, k * stencil.stride + n)] for k in range(len(weights))]
    use = np.logical_and.reduce([good[tuple(at)] for at in shifted])
    norm = stencil.line_norm(weights, axis)
    residual = sum(w * y[tuple(at)] for w, at in zip(weights, shifted, strict=True)) / norm
    middle = tuple(shifted[len(weights) // 2])
    return mean[middle][use], slope[middle][use], np.asarray(residual)[use], y[middle][use]


def _fill(y: Floats, good: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return the image with other pixels replaced by the local mean of good ones, and that mean."""
    weight = np.maximum(ndimage.gaussian_filter(good.astype(np.float32), _WIDTH), 1e-6)
    mean: Floats = ndimage.gaussian_filter(np.where(good, y, 0), _WIDTH) / weight
    return np.where(good, y, mean), mean


def _residual(y: Floats, step: float, stencil: Stencil) -> Floats:
    """Return second differences along y and x over their norm, 6 (Immerkaer 1996), z (y - 2 stride) (x - 2 stride).

    Residuals of quantised data are multiples of a sixth of a step: uniform jitter makes their median continuous.
    """
    s = stencil.stride
    along = y[:, :, 2 * s :] - 2 * y[:, :, s:-s] + y[:, :, : -2 * s]
    residual = (along[:, 2 * s :] - 2 * along[:, s:-s] + along[:, : -2 * s]) / stencil.plane_norm
    return residual + (step / 6) * (np.random.default_rng(0).random(residual.shape) - 0.5)


def step_of(y: Floats) -> float:
    """Return the smallest difference between values: the step of quantised data, otherwise close to 0."""
    values = np.unique(y)
    return float(np.diff(values).min()) if values.size > 1 else 0.0


def _whole_windows(good: NDArray[np.bool_], stride: int) -> NDArray[np.bool_]:
    """Return the mask of pixels whose 3 x 3 pixels ``stride`` apart are good, z (y - 2 stride) (x - 2 stride)."""
    height, width = good.shape[1] - 2 * stride, good.shape[2] - 2 * stride
    whole = np.ones((good.shape[0], height, width), dtype=bool)
    for dy in range(0, 2 * stride + 1, stride):
        for dx in range(0, 2 * stride + 1, stride):
            whole &= good[:, dy : dy + height, dx : dx + width]
    return whole
