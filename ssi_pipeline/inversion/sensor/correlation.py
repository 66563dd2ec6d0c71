"""Describe noise that is correlated between neighbouring pixels: its normalised autocorrelation.

Resampling, deskewing, demosaicing, denoising in the camera and lossy compression make neighbours share their noise.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # loads fft at its first use: a client without work does not need it
from numpy.typing import NDArray

Offset = tuple[int, int, int]

FLOOR = 0.05
"""Least power of the noise at any frequency, as a share of its mean: filters divide by it. Rounding and compression
leave this much; with less, errors of the estimated autocorrelation would be amplified."""


@dataclass(frozen=True, slots=True)
class NoiseCorrelation:
    """The autocorrelation rho of the noise at lags z y x; 1 at lag 0, and 0 at lags that are not listed.

    Attributes
    ----------
    lags
        One of each pair d, -d, which have the same correlation.
    values
        rho at each lag, -1 to 1.
    """

    lags: tuple[Offset, ...]
    values: tuple[float, ...]

    @property
    def reach(self) -> Offset:
        """Largest lag along z, y and x."""
        z, y, x = (max((abs(lag[axis]) for lag in self.lags), default=0) for axis in range(3))
        return z, y, x

    def at(self, lag: Sequence[int]) -> float:
        """Return rho at a lag z y x."""
        found = dict(zip(self.lags, self.values, strict=True))
        d = (int(lag[0]), int(lag[1]), int(lag[2]))
        return 1.0 if not any(d) else found.get(d, found.get((-d[0], -d[1], -d[2]), 0.0))

    def footprint(self, axes: int) -> NDArray[np.bool_]:
        """Return True at the offsets (z) y x that share noise with the middle, which is True; odd sizes."""
        reach = self.reach[-axes:]
        inside = np.zeros([2 * r + 1 for r in reach], bool)
        middle = np.array(reach)
        for lag in ([0, 0, 0], *self.lags):
            offset = np.array(lag)[-axes:]
            if axes == 3 or lag[0] == 0:
                inside[tuple(middle + offset)] = inside[tuple(middle - offset)] = True
        return inside

    def spectrum(self, shape: Sequence[int]) -> NDArray[np.float64]:
        """Return the power N(k) on a grid (z) y x in the order of ``fftn``: mean 1, at least ``FLOOR``."""
        rho = np.zeros(tuple(shape))
        rho.flat[0] = 1.0
        for lag, value in zip(self.lags, self.values, strict=True):
            if len(shape) == 3 or lag[0] == 0:
                for sign in (1, -1):
                    # an axis shorter than the lag would wrap: there the lag is folded onto it
                    rho[tuple(sign * d % n for d, n in zip(lag[-len(shape) :], shape, strict=True))] += value
        power = np.maximum(scipy.fft.fftn(rho).real, FLOOR)
        return np.asarray(power / power.mean())

    def colour(self, white: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return white noise (z) y x with this autocorrelation, of the same variance (periodic)."""
        return np.real(scipy.fft.ifftn(scipy.fft.fftn(white) * np.sqrt(self.spectrum(white.shape)))).astype(np.float32)

    def whiten(self, noise: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return noise of unit variance (z) y x as white noise of unit variance (periodic).

        An estimate absorbs the noise at the frequencies of the PSF. Of smooth noise that is most of the variance, of
        whitened noise as little as of white noise.
        """
        return np.real(scipy.fft.ifftn(scipy.fft.fftn(noise) / np.sqrt(self.spectrum(noise.shape)))).astype(np.float32)

    def variance_of(self, weights: NDArray[np.floating]) -> float:
        """Return the variance of a linear filter's output, weights z y x, for noise of unit variance."""
        size = [2 * n + 2 * r + 1 for n, r in zip(weights.shape, self.reach, strict=True)]
        own = scipy.fft.irfftn(np.abs(scipy.fft.rfftn(weights, s=size)) ** 2, s=size)
        total = float(own.flat[0])
        for lag, value in zip(self.lags, self.values, strict=True):
            total += 2 * value * float(own[lag])
        return total

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> NoiseCorrelation:
        """Return the correlation from plain JSON values."""
        lags = tuple((int(z), int(y), int(x)) for z, y, x in document["lags"])
        return cls(lags, tuple(float(value) for value in document["values"]))


def correlation_words(correlation: NoiseCorrelation | None) -> str:
    """Return what is known of the noise's correlation, as a sentence for users."""
    if correlation is None:
        return "noise independent between pixels"
    spans = [(axis, 2 * r + 1) for axis, r in zip("zyx", correlation.reach, strict=True) if axis != "z" or r]
    size = " x ".join(str(n) for _, n in spans)
    near = [(axis, correlation.at([int(a == axis) for a in "zyx"])) for axis, _ in spans]
    rho = ", ".join(f"{value:.2f} along {axis}" for axis, value in near)
    return (
        f"noise correlated over {size} pixels ({' '.join(axis for axis, _ in spans)}; neighbours {rho}), as by "
        "resampling, deskewing, demosaicing, denoising or lossy compression before: such pixels are hidden together. "
        "Unprocessed data give better results; sensor.correlation overrides"
    )


def between_words(axis: str, rho: float | None) -> str:
    """Return why neighbours along z or t are not shown to the network, as a sentence for users."""
    which = "frame" if axis == "t" else "plane"
    ending = f"network.context is not used along {axis}: remove {axis} from it"
    if rho is None:
        return (
            f"it cannot be told whether the noise of a {which} is independent of the next one's; {ending}, or state "
            "it with sensor.correlation: none"
        )
    return (
        f"noise shared with the next {which} (correlation {rho:.2f}), as by interpolation along {axis}, deskewing, "
        f"denoising over several {which}s, or a camera's lag or fixed pattern; {ending}"
    )


@functools.cache
def half_lags(reach: Offset) -> tuple[Offset, ...]:
    """Return the lags d != 0 with |d| <= reach along each axis, one of each pair d, -d."""
    sides = [np.arange(-r, r + 1) for r in reach]
    every = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 3).tolist()
    return tuple((z, y, x) for z, y, x in every if (z, y, x) > (0, 0, 0))
