"""Model the sensor: Poissonian-Gaussian noise, then clipping.

A level z is reported as clip(z + s(z) N, low, high), with N standard normal and
s^2 = alpha max(z - dark, 0) + sigma^2 (Foi et al. 2008). All quantities are in the units of z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
_LEAST_VARIANCE = 1e-12
"""Added to s^2 of normalised levels, which float32 resolves to 1e-7: avoids division by zero without noise."""

_FARTHEST = 40.0
"""Standard deviations beyond which a normal tail underflows in float64; clamping there keeps gradients finite."""


@dataclass(frozen=True, slots=True)
class CensoredSensor:
    """A sensor with Poissonian-Gaussian noise that clips its reports to [low, high].

    Attributes
    ----------
    alpha
        Increase of the noise variance per unit of level above ``dark``, >= 0.
    sigma
        Standard deviation of the noise at ``dark`` and below, >= 0.
    low, high
        Limits of the reports; an infinite limit does not clip.
    dark
        Dark level.

    Raises
    ------
    ValueError
        ``alpha`` or ``sigma`` is negative, or ``low`` is not below ``high``.
    """

    alpha: float
    sigma: float
    low: float = -math.inf
    high: float = math.inf
    dark: float = 0.0

    def __post_init__(self) -> None:
        if self.alpha < 0 or self.sigma < 0 or not self.low < self.high:
            raise ValueError(f"expected alpha, sigma >= 0 and low < high, found {self}")

    @property
    def is_linear(self) -> bool:
        """Whether nothing clips, so that the expected report is the level itself."""
        return math.isinf(self.low) and math.isinf(self.high)

    def deviation(self, level: Tensor) -> Tensor:
        """Return the standard deviation s of the noise before clipping, at each level."""
        return torch.sqrt(self.alpha * (level - self.dark).clamp(min=0) + self.sigma**2 + _LEAST_VARIANCE)

    def __call__(self, level: Tensor) -> Tensor:
        """Return the expected report mu(z) of each level: the mean of a two-limit censored normal (Tobin 1958)."""
        if self.is_linear:
            return level
        s = self.deviation(level)
        mean: Tensor = level
        if math.isfinite(self.low):
            mean = mean + _excess(self.low - level, s)
        if math.isfinite(self.high):
            mean = mean - _excess(level - self.high, s)
        return mean

    def with_slope(self, level: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the expected report of each level and its derivative, in closed form; None where it is 1 throughout.

        With Phi and phi of the standard normal and t the distances to the limits over s, mu' = 1 - Phi(t_low) -
        Phi(t_high) + s' (phi(t_low) - phi(t_high)). A quarter of the operations of autograd; for levels without one.
        """
        if self.is_linear:
            return level, None
        above = (level - self.dark).clamp(min=0)
        s = (self.alpha * above + (self.sigma**2 + _LEAST_VARIANCE)).sqrt()
        limits = [(sign, limit) for sign, limit in ((1, self.low), (-1, self.high)) if math.isfinite(limit)]
        t = torch.stack([limit - level if sign > 0 else level - limit for sign, limit in limits]) / s
        beyond, bell = torch.special.log_ndtr(t).exp(), (t * t * -0.5).exp()
        excess = torch.add(t * beyond, bell, alpha=_INV_SQRT_2PI) * s
        mean, slope, tilt = level, 1 - beyond.sum(0), torch.zeros_like(level)
        for (sign, _), change, density in zip(limits, excess, bell, strict=True):
            mean, tilt = torch.add(mean, change, alpha=sign), torch.add(tilt, density, alpha=sign)
        return mean, torch.add(slope, tilt / s * (above > 0), alpha=0.5 * self.alpha * _INV_SQRT_2PI)

    def variance(self, level: Tensor) -> Tensor:
        """Return the variance of the report of each level, in closed form; s^2 where nothing clips.

        Notes
        -----
        The deviation of the report from r, the level clamped to the limits, is a part above r minus a part below, at
        most one of which is not 0. No large terms cancel, however far the level is beyond a limit.
        """
        s = self.deviation(level)
        r = level.clamp(self.low, self.high)
        up, up2 = _between(r - level, self.high - level if math.isfinite(self.high) else None, s)
        down, down2 = _between(level - r, level - self.low if math.isfinite(self.low) else None, s)
        return s * s * (up2 + down2 - (up - down) ** 2).clamp(min=0)


def _excess(gap: Tensor, s: Tensor) -> Tensor:
    """Return E[max(gap - s N, 0)], the change of the mean by a limit at the distance ``gap``."""
    return torch.where(gap > _FARTHEST * s, gap, s * _over(_standardised(-gap, s)))


def _standardised(gap: Tensor, s: Tensor) -> Tensor:
    """Return gap / s, clamped to where normal tails neither underflow nor overflow (a gradient of 0 inf is NaN)."""
    farthest = _FARTHEST * s.detach()
    return gap.clamp(-farthest, farthest) / s


def _over(t: Tensor) -> Tensor:
    """Return E[max(N - t, 0)] for a standard normal N."""
    over: Tensor = _INV_SQRT_2PI * torch.exp(-0.5 * t * t) - t * torch.special.ndtr(-t)
    return over


def _over_squared(t: Tensor) -> Tensor:
    """Return E[max(N - t, 0)^2] for a standard normal N."""
    over: Tensor = (1 + t * t) * torch.special.ndtr(-t) - t * _INV_SQRT_2PI * torch.exp(-0.5 * t * t)
    return over


def _between(near: Tensor, far: Tensor | None, s: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first two moments of min(max(N - a, 0), b - a); a = near / s >= 0, b = far / s or infinite."""
    a = _standardised(near, s)
    first, second = _over(a), _over_squared(a)
    if far is not None:
        b = _standardised(far, s)
        first, second = first - _over(b), second - _over_squared(b) - 2 * (b - a) * _over(b)
    return first.clamp(min=0), second.clamp(min=0)
